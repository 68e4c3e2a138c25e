"""The process of the operator: caches, queues, loops, leader election and reports."""
