"""How gunicorn serves the app. The settings are documented at https://gunicorn.org/reference/settings/."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

wsgi_app = "app:app"
bind = "0.0.0.0:8080"

# One process per pod, because Kubernetes scales by pods. Threads, so that a slow request does not delay a probe. There are
# this many because a new connection that sends no request holds a thread for up to five seconds.
worker_class = "gthread"
workers = 1
threads = 16

# Keep the heartbeat file in memory: on a slow or read-only disk, gunicorn would take the worker for dead.
MEMORY = Path("/dev/shm")  # noqa: S108
worker_tmp_dir = str(MEMORY) if MEMORY.is_dir() else None
# Nothing in the container uses gunicorn's control socket.
control_socket_disable = True

# Longer than the load balancer's idle timeout of 60 seconds. Otherwise the server could close a connection just as the
# load balancer sends a request on it.
keepalive = 65

# After SIGTERM, the server still accepts requests for DRAIN_SECONDS while /readyz reports 503. Then it closes the listener
# and finishes requests in flight. Together with the preStop pause, both fit in terminationGracePeriodSeconds.
DRAIN_SECONDS = 2
graceful_timeout = 20


def flask_app(wsgi: Any) -> Any:
    """Return the Flask app inside middleware such as ProxyFix, which keeps it as ``app``; None if there is none."""
    while wsgi is not None and not hasattr(wsgi, "config"):
        wsgi = getattr(wsgi, "app", None)
    return wsgi


def post_worker_init(worker: Any) -> None:
    """Delay the worker's shutdown after SIGTERM; in the meantime the app reports that it is not ready."""
    app = flask_app(worker.wsgi)

    def drain(number: int, frame: FrameType | None) -> None:
        if app is not None:
            app.config["STOPPING"] = True
        threading.Timer(DRAIN_SECONDS, worker.handle_exit, (number, frame)).start()

    signal.signal(signal.SIGTERM, drain)
