# syntax=docker/dockerfile:1
# docker build -t flowfleet . && docker run --rm -p 8000:8000 flowfleet
# docs/deploy.md tells of the arguments; `make image-test` builds the image without Docker and tries it.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS builder
# cpu: a server; cuda: torch with GPU libraries and TensorBoard beside it, for training
ARG VARIANT=cpu
# Address of a further index of torch builds: CPU wheels, or those of one CUDA version; empty: what pip finds first.
ARG TORCH_INDEX=
# a pip.conf for indexes of your own: --secret id=pip,src=FILE; it does not end up in the image
ENV PIP_CONFIG_FILE=/run/secrets/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    SOURCE_DATE_EPOCH=1577836800 \
    OMP_NUM_THREADS=1 \
    INTO=/opt/flowfleet/bin/python
WORKDIR /src
# what builds stays behind in an environment of its own: the one that is shipped has not even pip
RUN python -m venv /opt/build && python -m venv --without-pip /opt/flowfleet
ENV PATH=/opt/build/bin:$PATH
# the dependencies change more rarely than the code: a layer of their own
COPY constraints.txt pyproject.toml ./
RUN --mount=type=secret,id=pip \
    pip install --constraint constraints.txt hatchling \
 && pip --python ${INTO} install --no-compile --constraint constraints.txt --no-deps ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}} torch \
 && python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; x = p['optional-dependencies']; print('\n'.join(p['dependencies'] + {'cpu': x['fast'], 'cuda': x['fast'] + x['train']}['${VARIANT}']))" > requirements.txt \
 && pip --python ${INTO} install --no-compile --constraint constraints.txt --requirement requirements.txt \
 && ${INTO} -c "import sys, torch; sys.exit('VARIANT=cuda, but this torch has no GPU libraries: give TORCH_INDEX' if '${VARIANT}' == 'cuda' and not torch.version.cuda else 0)"
COPY README.md LICENSE ./
COPY maps maps
COPY models models
COPY safety_filter safety_filter
COPY planner planner
COPY api api
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python ${INTO} install --no-compile --no-index --no-deps dist/*.whl \
 && pip --python ${INTO} check
COPY deploy/trim_image.py examples/warehouse_16.json ./
# Planning once compiles the kernels into the image: a container is ready in seconds. Bytecode is kept of what is imported.
RUN ${INTO} trim_image.py prune \
 && find /opt/flowfleet -name __pycache__ -type d -prune -exec rm -rf {} + \
 && NUMBA_CACHE_DIR=/opt/flowfleet/share/flowfleet/kernels /opt/flowfleet/bin/flowfleet plan warehouse_16.json -o plans.jsonl \
 && NUMBA_CACHE_DIR=/opt/flowfleet/share/flowfleet/kernels /opt/flowfleet/bin/flowfleet agents \
 && /opt/flowfleet/bin/flowfleet check warehouse_16.json plans.jsonl \
 && cd / && ${INTO} -c "import api.serving, psycopg, sqlalchemy.dialects.postgresql.psycopg, sqlalchemy.dialects.sqlite.pysqlite" \
 && ${INTO} /src/trim_image.py bytecode

FROM ${BASE_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="flowfleet" \
      org.opencontainers.image.description="Multi-robot trajectory planning server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
# one thread for each numerical library: the worker's threads must not fight each other on a few cores
ENV PATH=/opt/flowfleet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/flowfleet \
    MPLCONFIGDIR=/var/lib/flowfleet/matplotlib \
    NUMBA_CACHE_DIR=/var/lib/flowfleet/kernels \
    OMP_NUM_THREADS=1 \
    OMP_WAIT_POLICY=PASSIVE
COPY --from=builder /opt/flowfleet /opt/flowfleet
# a numeric owner, so that a cluster can see that it is not root; group 0 may write too, for clusters that choose the uid
RUN mkdir -p /var/lib/flowfleet && chown 10001:0 /var/lib/flowfleet && chmod 0770 /var/lib/flowfleet
USER 10001:0
# the only folder that is written to; the store's file lies here, unless FLOWFLEET_STORE_URL names another place
WORKDIR /var/lib/flowfleet
VOLUME /var/lib/flowfleet
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=300s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["flowfleet"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
