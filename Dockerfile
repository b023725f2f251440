# To upgrade Python, change the tag here, run the `uv pip compile` command in requirements.txt for it, and push.
FROM public.ecr.aws/docker/library/python:3.13-slim AS base
ENV PYTHONUNBUFFERED=1
WORKDIR /app


# Copy requirements.txt before the code, so that packages are reinstalled only when it changes. pip stays outside the
# environment that is copied into the image.
FROM base AS dependencies
RUN python -m venv --without-pip /opt/venv
COPY requirements.txt ./
RUN pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --disable-pip-version-check \
      --only-binary :all: --require-hashes --requirement requirements.txt


FROM base AS runtime
ENV PATH=/opt/venv/bin:$PATH
COPY --from=dependencies /opt/venv /opt/venv
# The packages have no bytecode. Compile what the first request needs here, not at every start.
RUN python -c "import flask, gunicorn.app.wsgiapp, gunicorn.glogging, gunicorn.workers.gthread, \
      concurrent.futures.thread, encodings.idna"


# Separate stages for what only tests and bill of materials need, so that a change of requirements.txt does not reinstall
# it, and a builder without layers installs only what the tests need if the bill has not changed.
FROM base AS test-dependencies
COPY tests/requirements.txt ./
RUN pip install --target /opt/test --no-cache-dir --no-compile --disable-pip-version-check --only-binary :all: \
      --require-hashes --requirement requirements.txt


FROM base AS bom-dependencies
COPY scripts/lib/sbom-requirements.txt ./
RUN pip install --target /opt/bom --no-cache-dir --no-compile --disable-pip-version-check --only-binary :all: \
      --require-hashes --requirement sbom-requirements.txt


# `docker build --target test .` fails when a test fails.
FROM runtime AS test
COPY --from=test-dependencies /opt/test /opt/test
ENV PYTHONPATH=/opt/test
COPY app.py gunicorn.conf.py tests/test_app.py ./
USER 10001:10001
RUN python -m pytest -p no:cacheprovider test_app.py


# What is in the image, as a CycloneDX document. One that is not valid fails the build.
FROM runtime AS bom
COPY --from=bom-dependencies /opt/bom /opt/bom
COPY scripts/lib/sbom.py ./
RUN PYTHONPATH=/opt/bom python sbom.py >/bom.json


FROM runtime AS release
COPY --from=bom /bom.json /
COPY app.py gunicorn.conf.py ./
USER 10001:10001
# Last, so that a commit with the same files adds no layer.
ARG VERSION=development
ENV VERSION=$VERSION
LABEL org.opencontainers.image.title="hello-world" \
      org.opencontainers.image.description="A Flask app that shows which version of it answered" \
      org.opencontainers.image.revision="$VERSION"
EXPOSE 8080
# For `docker run`; Kubernetes uses its own probes.
HEALTHCHECK --interval=10s --timeout=3s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
CMD ["gunicorn"]
