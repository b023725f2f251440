#!/usr/bin/env -S python3 -IS
"""Runs the AWS CLI in a process that has already imported it (tests/support/warm_aws.py)."""

import json
import os
import socket
import sys
from pathlib import Path

call = {"arguments": sys.argv[1:], "environment": dict(os.environ), "directory": str(Path.cwd())}
message = json.dumps(call).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.environ["WARM_AWS"])
    socket.send_fds(server, [len(message).to_bytes(4)], [0, 1, 2])
    server.sendall(message)
    code = server.recv(1)
sys.exit(code[0] if code else 1)
