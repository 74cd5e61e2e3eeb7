# syntax=docker/dockerfile:1
# docker build -t flowfleet . && docker run --rm -p 8000:8000 flowfleet
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS builder
# Address of PyTorch's index of CPU wheels; empty: the build that pip finds first.
ARG TORCH_INDEX=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/flowfleet
ENV PATH=/opt/flowfleet/bin:$PATH
# the dependencies change more rarely than the code: a layer of their own
COPY constraints.txt pyproject.toml ./
RUN pip install --constraint constraints.txt --no-deps ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}} torch \
 && python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print('\n'.join(p['dependencies'] + p['optional-dependencies']['fast']))" > requirements.txt \
 && pip install --constraint constraints.txt --requirement requirements.txt hatchling
COPY README.md LICENSE ./
COPY maps maps
COPY models models
COPY safety_filter safety_filter
COPY planner planner
COPY api api
RUN pip install --no-deps --no-build-isolation . \
 && pip uninstall --yes hatchling

FROM ${BASE_IMAGE} AS runtime
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="flowfleet" \
      org.opencontainers.image.description="Multi-robot trajectory planning server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# one thread for each numerical library: the worker's threads must not fight each other on a few cores
ENV PATH=/opt/flowfleet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/flowfleet \
    MPLCONFIGDIR=/var/lib/flowfleet/matplotlib \
    NUMBA_CACHE_DIR=/var/lib/flowfleet/numba \
    OMP_NUM_THREADS=1 \
    OMP_WAIT_POLICY=PASSIVE
COPY --from=builder /opt/flowfleet /opt/flowfleet
COPY examples/warehouse_16.json /opt/flowfleet/share/warehouse_16.json
# a numeric owner, so that a cluster can see that it is not root; group 0 may write too, for clusters that choose the uid
RUN mkdir -p /var/lib/flowfleet && chown 10001:0 /var/lib/flowfleet && chmod 0770 /var/lib/flowfleet
USER 10001:0
WORKDIR /var/lib/flowfleet
# planning once compiles the kernels into the image: a container is ready in seconds
RUN flowfleet plan /opt/flowfleet/share/warehouse_16.json -o warm_up.jsonl \
 && rm warm_up.jsonl \
 && chmod -R g=u /var/lib/flowfleet
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["flowfleet"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
