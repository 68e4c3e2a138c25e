"""Rights that RBAC grants, as a SelfSubjectAccessReview asks for them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource. An empty namespace means all namespaces, an empty name any name."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        resource = self.resource
        if self.subresource:
            resource += f"/{self.subresource}"
        if self.group:
            resource += f".{self.group}"
        words = [self.verb, resource]
        if self.name:
            words.append(self.name)
        if self.namespace:
            words.append(f"in namespace {self.namespace}")
        return " ".join(words)
