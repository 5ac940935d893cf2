# One file, an image a target: web, worker and webhooks without TensorFlow, exporter and embedded with it.
#
#   docker build --target web -t shelfline-web .            (--build-arg EXTRAS='[s3,tracing]' for pyproject.toml's)
#
# It is also for builders without BuildKit: no RUN --mount, no here-documents.

FROM python:3.11-slim-bookworm AS python
ENV PATH=/opt/shelfline/bin:$PATH PYTHONUNBUFFERED=1
RUN groupadd --gid 10001 shelfline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/shelfline shelfline \
    && install -d -o 10001 -g 10001 /models /var/lib/shelfline /var/lib/shelfline/blobs

# The project as a package: an image holds what pyproject.toml names, and nothing else of a checkout.
FROM python AS wheel
WORKDIR /src
COPY requirements-full.txt ./
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir "$(grep '^setuptools==' requirements-full.txt)" \
        "$(grep '^wheel==' requirements-full.txt)"
COPY pyproject.toml requirements.in requirements-full.in README.md LICENSE ./
COPY api api
COPY workers workers
COPY serving serving
COPY exporter exporter
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

# What no process of these images reads is taken out again: pip, the exporter and its weights, NumPy's tools for
# compilers, tests and headers.
FROM python AS light
COPY requirements.txt /
COPY --from=wheel /wheel /wheel
ARG EXTRAS=
RUN python -m venv /opt/shelfline \
    && pip install --no-cache-dir -r /requirements.txt \
    && pip install --no-cache-dir -c /requirements.txt "$(echo /wheel/*.whl)$EXTRAS" \
    && pip uninstall --quiet --yes setuptools pip \
    && cd /opt/shelfline/lib/python3.11/site-packages \
    && rm -r exporter numpy/distutils numpy/f2py \
    && find numpy -type d -name tests -prune -exec rm -r {} + \
    && find . -type f \( -name '*.pyi' -o -name '*.a' -o -name '*.h' -o -name '*.map' \) -delete

FROM python AS app
COPY --from=light /opt/shelfline /opt/shelfline
ENV BLOB_URL=/var/lib/shelfline/blobs
WORKDIR /var/lib/shelfline
USER 10001:10001

# The commands are those of the Procfile; `exec`, so that SIGTERM reaches them and no shell.
FROM app AS web
ENV PORT=5000 SHELFLINE_HOST=0.0.0.0 SHELFLINE_REQUIRE_KEYS=1 TMPDIR=/var/tmp
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=4)"]
CMD ["/bin/sh", "-c", "exec gunicorn -c python:api.gunicorn api.wsgi:app"]

FROM app AS celery
ENV SHELFLINE_HEARTBEAT_FILE=/tmp/heartbeat
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/bin/sh", "-c", \
    "test -n \"$(find \"$SHELFLINE_HEARTBEAT_FILE\" -newermt '-30 seconds')\""]

FROM celery AS worker
CMD ["/bin/sh", "-c", "exec celery --quiet --app workers.main:app worker --queues detect,upkeep --pool \"${SHELFLINE_POOL:-prefork}\" --concurrency \"${SHELFLINE_CONCURRENCY:-1}\" --loglevel warning --without-gossip --without-mingle --without-heartbeat"]

FROM celery AS webhooks
CMD ["/bin/sh", "-c", "exec celery --quiet --app workers.webhooks.main:app worker --queues webhooks --pool threads --concurrency 1 --loglevel warning --without-gossip --without-mingle --without-heartbeat"]

FROM python AS full
COPY requirements-full.txt /
COPY --from=wheel /wheel /wheel
RUN python -m venv /opt/shelfline \
    && pip install --no-cache-dir -r /requirements-full.txt \
    && pip install --no-cache-dir --no-deps /wheel/*.whl \
    && pip uninstall --quiet --yes pip

FROM python AS models
COPY --from=full /opt/shelfline /opt/shelfline
ENV KERAS_HOME=/tmp/keras TF_CPP_MIN_LOG_LEVEL=2
WORKDIR /
USER 10001:10001

# docker run -v models:/models shelfline-exporter ssd300 ...; without arguments, the default model where there is none.
FROM models AS exporter
ENTRYPOINT ["python", "-m", "exporter"]
CMD ["demo", "--if-missing"]

# As tensorflow/serving: the same ports and folder, MODEL_NAME, further flags as arguments.
FROM models AS embedded
ENV MODEL_NAME=default MODEL_BASE_PATH=/models
EXPOSE 8500 8501
ENTRYPOINT ["/bin/sh", "-c", "exec python -m serving --host=0.0.0.0 --port=8500 --rest_api_port=8501 --model_name=\"$MODEL_NAME\" --model_base_path=\"$MODEL_BASE_PATH/$MODEL_NAME\" \"$@\"", "serving"]
