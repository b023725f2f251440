"""The AWS CLI, imported once: each call is a fork of this process, which is faster than a start.

``python -m tests.support.warm_aws SOCKET`` serves; tests put tests/support/fakes/aws.py on PATH as ``aws``. Apart from
its startup it is the real AWS CLI. A call ends when its caller does, even if that is killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from typing import Any

from awscli import clidriver


def serve(path: str) -> None:
    """Serve until stopped."""
    driver = clidriver.create_clidriver()
    services = set(driver.session.get_available_services())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        while True:
            caller, _ = listener.accept()
            size, files, _, _ = socket.recv_fds(caller, 4, 3)
            message = b""
            while len(message) < int.from_bytes(size):
                message += caller.recv(1 << 20)
            call = json.loads(message)
            for service in services.intersection(call["arguments"]):
                driver.session.get_service_data(service)  # cached for the following calls
            if os.fork() == 0:
                listener.close()
                answer(caller, files, call, driver)
            caller.close()
            for file in files:
                os.close(file)


def answer(caller: socket.socket, files: list[int], call: dict[str, Any], driver: clidriver.CLIDriver) -> None:
    """Run one call of the CLI and exit."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    data = os.environ["AWS_DATA_PATH"]  # set by the import of awscli
    os.environ.clear()
    os.environ.update(call["environment"], AWS_DATA_PATH=data)
    os.chdir(call["directory"])
    threading.Thread(target=end_with, args=(caller,), daemon=True).start()
    try:
        code = driver.main(call["arguments"]) or 0
    except SystemExit as end:  # of --version
        code = int(end.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    caller.sendall(bytes([code & 255]))
    os._exit(0)


def end_with(caller: socket.socket) -> None:
    """Kill this process when its caller is gone."""
    caller.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(sys.argv[1])
