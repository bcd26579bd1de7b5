# One node in one container. The install commands are the README's, word for word (tests/test_frame.py holds
# them together); only the data volume and /tmp are written to, so the root may be mounted read-only.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/adjudge
# The lock first and alone: its layer stays as long as the dependencies do.
COPY requirements.lock ./
RUN python3 -m venv .venv \
    && .venv/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
RUN .venv/bin/pip install --no-deps .

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 adjudge \
    && useradd --uid 10001 --gid adjudge --no-create-home --home-dir /data --shell /usr/sbin/nologin adjudge \
    && install -d -o adjudge -g adjudge -m 0700 /data
# The same path as in the build stage: a virtual environment does not move.
WORKDIR /srv/adjudge
COPY --from=build /srv/adjudge/.venv .venv
# Compiled kernels are kept beside the data: they belong to one CPU model and outlive the container.
ENV PATH=/srv/adjudge/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/data/kernels
USER 10001:10001
VOLUME /data
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
# The first start on a machine compiles the kernels, hence the long start period.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["adjudge", "serve", "--data", "/data", "--host", "0.0.0.0", "--admin-host", "0.0.0.0"]
