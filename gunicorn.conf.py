"""How gunicorn serves the app; https://gunicorn.org/reference/settings/ has the meaning of each setting."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

wsgi_app = "app:app"
bind = "0.0.0.0:8080"

# One process a pod: Kubernetes adds pods. Threads, because a request mostly waits, and one that does not must not
# hold up a probe. A connection on which nothing was sent yet holds a thread for up to five seconds, hence not fewer.
worker_class = "gthread"
workers = 1
threads = 16

# The heartbeat file stays in memory: on a slow disk, and on a read-only one, the worker would be taken for dead.
MEMORY = Path("/dev/shm")  # noqa: S108
worker_tmp_dir = str(MEMORY) if MEMORY.is_dir() else None
# Nothing in a container manages gunicorn through a socket.
control_socket_disable = True

# Longer than the 60 seconds after which a load balancer drops an idle connection, so that never this side drops it first
# and a request that is on its way finds nobody.
keepalive = 65

# Seconds from SIGTERM: first requests are still taken while /readyz sends callers elsewhere, then the listener closes
# and what is in flight is finished. Both, after the preStop pause, fit in the pod's terminationGracePeriodSeconds.
DRAIN_SECONDS = 2
graceful_timeout = 20


def post_worker_init(worker: Any) -> None:
    """Put a pause, in which the app says that it is not ready, between SIGTERM and the end of the worker."""

    def drain(number: int, frame: FrameType | None) -> None:
        worker.wsgi.config["STOPPING"] = True
        threading.Timer(DRAIN_SECONDS, worker.handle_exit, (number, frame)).start()

    signal.signal(signal.SIGTERM, drain)
