# clipadapt serve in a container, as a user without rights, on read-only data.
#
#   docker build -t clipadapt .
#   docker run --rm -p 8000:8000 -e CLIPADAPT_TOKEN="$(openssl rand -hex 24)" -v "$PWD/runs/quickstart:/data:ro" clipadapt
#
# What is served lies at /data: an index, a run, a release, or a folder of releases. Without a token the service refuses
# to start, unless --open is added to the command.

FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY clipadapt clipadapt
COPY prompts prompts
COPY configs configs
COPY eval eval
# The CPU build of torch: the other brings gigabytes of CUDA libraries.
RUN python -m venv /opt/clipadapt \
    && /opt/clipadapt/bin/pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
       "torch==2.11.*" torchvision \
    && /opt/clipadapt/bin/pip install --no-cache-dir ".[service,onnx]"

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin clipadapt
COPY --from=build /opt/clipadapt /opt/clipadapt
ENV PATH=/opt/clipadapt/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    CLIPADAPT_CACHE=/tmp/clipadapt \
    HOME=/tmp
USER 10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["clipadapt", "serve"]
CMD ["/data", "--host", "0.0.0.0", "--port", "8000"]
