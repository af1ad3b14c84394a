"""A Ray cluster on this machine: a head without CPUs and two nodes. Run by the Python of Ray.

Its address is written to the file that is named. It lives until its process is killed.
"""

import signal
import sys
from pathlib import Path

OBJECTS_BYTES = 100 * 1024**2


def main() -> None:
    """As the argument says."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - tests are collected without Ray, too

    node = {"object_store_memory": OBJECTS_BYTES}
    head = {**node, "num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(**node, num_cpus=2)
    cluster.wait_for_nodes()
    Path(sys.argv[1]).write_text(cluster.address)
    signal.pause()


if __name__ == "__main__":
    main()
