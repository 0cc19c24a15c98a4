# Targets: operator, consumer. Each holds one virtual environment with the locked dependencies and the wheel: no source
# tree, no compiler, not root. BASE must have python3 (3.11 or later) with venv and pip at the same path in all stages.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
# The native encoder is optional on a laptop and never missing in an image; its compiler stays in this stage.
RUN command -v rustc >/dev/null \
    || (apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev rustc && rm -rf /var/lib/apt/lists/*)
WORKDIR /src
COPY . .
# The lock's versions bind the build backend, too.
RUN sed 's/ *\\$//; /^ *--hash/d' requirements.lock >/tmp/constraints.txt \
    && FOREBAY_NATIVE=require PIP_CONSTRAINT=/tmp/constraints.txt python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${BASE} AS operator-environment
COPY requirements-operator.lock /tmp/
RUN python3 -m venv /app && /app/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements-operator.lock
COPY --from=build /wheels /wheels
RUN /app/bin/pip install --no-cache-dir --no-index --no-deps /wheels/*.whl

FROM ${BASE} AS consumer-environment
COPY requirements-consumer.lock /tmp/
RUN python3 -m venv /app && /app/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements-consumer.lock
COPY --from=build /wheels /wheels
RUN /app/bin/pip install --no-cache-dir --no-index --no-deps /wheels/*.whl

FROM ${BASE} AS operator
ENV PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=operator-environment /app /app
USER 65532:65532
ENTRYPOINT ["/app/bin/python", "-m", "forebay_operator"]

FROM ${BASE} AS consumer
ENV PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=consumer-environment /app /app
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/app/bin/python", "-m", "forebay_consumer"]
