# Targets: operator, consumer. Each holds the system of BASE, one virtual environment with the locked dependencies, and the
# wheel beside it: no source tree, no compiler, no pip, not root; it writes nowhere but /tmp. Plain Dockerfile syntax, so
# that builders without BuildKit take it, too.
#
# BASE must bring python3, 3.11 or later, with venv, and CA certificates; the result is BASE without pip and documentation.
# The build fetches packages and a compiler from their usual places. What the context holds already is not fetched:
#   build/wheels/*.whl          all that the locks name (tools/fetch_wheels.sh); then no index is asked
#   build/own/forebay-*.whl     the wheel, with the native encoder made for BASE's C library; then no compiler is needed
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The patterns in brackets may match nothing; a plain name must exist.
COPY requirements-build.lock build/wheel[s] /wheels/
RUN if ls /wheels/*.whl >/dev/null 2>&1; then printf '[global]\nno-index = true\nfind-links = /wheels\n' >/etc/pip.conf; fi \
    && python3 -m venv /build

FROM tools AS wheel
WORKDIR /src
COPY LICENSE README.md hatch_build.py pyproject.toml tools/make_wheel.sh build/ow[n] ./
COPY manifests/samples manifests/samples
COPY crds crds
COPY operator operator
COPY cli cli
COPY consumer consumer
RUN sh make_wheel.sh /app/forebay

FROM tools AS operator-environment
COPY requirements-operator.lock tools/make_environment.sh /locks/
RUN sh /locks/make_environment.sh /app /locks/requirements-operator.lock

FROM tools AS consumer-environment
COPY requirements-consumer.lock tools/make_environment.sh /locks/
RUN sh /locks/make_environment.sh /app /locks/requirements-consumer.lock

FROM ${BASE} AS system
COPY tools/trim_system.sh /tmp/
RUN sh /tmp/trim_system.sh

# One layer, the same for both: what was trimmed is not in a layer below either.
FROM scratch AS runtime
COPY --from=system / /
ENV PATH=/app/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 \
    PYTHONPATH=/app/forebay PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
# Kubernetes asks /livez and /readyz itself.
HEALTHCHECK NONE

FROM runtime AS operator
COPY --from=operator-environment /app /app
COPY --from=wheel /app/forebay /app/forebay
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="forebay-operator" \
      org.opencontainers.image.description="Scales the consumers of IngestPipelines by their load" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENTRYPOINT ["/app/bin/python", "-m", "forebay_operator"]

FROM runtime AS consumer
COPY --from=consumer-environment /app /app
COPY --from=wheel /app/forebay /app/forebay
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="forebay-consumer" \
      org.opencontainers.image.description="Moves one Kafka topic into one PostgreSQL table, exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENTRYPOINT ["/app/bin/python", "-m", "forebay_consumer"]
