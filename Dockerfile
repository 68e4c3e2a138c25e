# Raysweep's image: the wheel with the packages of its extra `operator` (requirements.txt).
# The base image is an argument. It needs python3 (3.11 or later) with venv, and can lack `python`.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS builder
WORKDIR /src
# The environment in the image has no pip. The pip of /tools installs the packages.
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/raysweep
COPY requirements.txt requirements-build.txt ./
RUN /tools/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-build.txt \
    && /tools/bin/pip --python /opt/raysweep/bin/python3 install --no-cache-dir --disable-pip-version-check \
        --only-binary :all: --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN /tools/bin/pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /tools/bin/pip --python /opt/raysweep/bin/python3 install --no-cache-dir --disable-pip-version-check --no-deps \
        --no-index /wheels/raysweep-*.whl

FROM ${BASE_IMAGE}
# The image does not need the base's tools for installing packages.
RUN python3 -m pip uninstall --yes pip setuptools wheel >/dev/null 2>&1 || true
COPY --from=builder /opt/raysweep /opt/raysweep
ENV PATH=/opt/raysweep/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["raysweep"]
CMD ["run"]
