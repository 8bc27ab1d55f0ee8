# Driftline for production: serve, live, run, replay and MLflow's server come of this one image.
#   docker build -t driftline:0.1.0 .
#   docker run --rm driftline:0.1.0 live --demo
# What it needs is pinned in requirements.image.lock; torch is not among it. docs/deployment.md tells all.

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
RUN python -m venv /opt/driftline
COPY requirements.image.lock ./
# --no-deps: the lock is complete, and asking for dependencies would bring torch (3 GB) in.
# The libraries' own tests are a tenth of all, and nobody's business here.
RUN /opt/driftline/bin/pip install --no-deps --only-binary :all: -r requirements.image.lock \
    && find /opt/driftline/lib -type d -name tests -prune -exec rm -rf {} +
COPY pyproject.toml README.md LICENSE ./
COPY engine engine
COPY scenarios scenarios
COPY benchmarks benchmarks
COPY dashboards dashboards
RUN /opt/driftline/bin/pip install --no-deps --no-build-isolation . \
    && /opt/driftline/bin/python -m compileall -q -j 0 /opt/driftline/lib \
    && /opt/driftline/bin/pip uninstall -y pip

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="driftline" \
      org.opencontainers.image.description="When should we retrain, and what does it cost us to be wrong?" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 driftline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin driftline \
    && install -d -o driftline -g driftline /srv/driftline \
       /srv/driftline/data /srv/driftline/registry /srv/driftline/runs /srv/driftline/logs /srv/driftline/cache
COPY --from=build /opt/driftline /opt/driftline
WORKDIR /srv/driftline
COPY config config
COPY scenarios scenarios
COPY benchmarks/*.yaml benchmarks/
COPY deploy/docker/health.py /opt/driftline/health.py
# Only these folders, and /tmp, are ever written to: the rest may be mounted read-only.
ENV PATH=/opt/driftline/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba \
    DRIFTLINE_ENV=prod DRIFTLINE_CACHE=/srv/driftline/cache \
    MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
USER 10001:10001
# live and run: figures; serve, replay and MLflow's server
EXPOSE 9464 8000 8050 5000
# HEALTH_URL says what to ask; each service of compose.yaml sets its own.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/driftline/health.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["driftline"]
# The pipeline runs when the container starts; NEWSAPI_KEY comes from the environment.
CMD ["live", "config/live.yaml", "--out", "runs/newsroom"]
