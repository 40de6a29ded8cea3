# Builds wheels with the pinned, hashed versions; what runs has no compiler, no pip cache and no way to download anything.
FROM python:3.12-slim-bookworm AS build
# `image`: with what archives closed hours and sends traces. `run`: without, some 250 MB less; rows then stay in the store.
ARG REQUIREMENTS=image
WORKDIR /src
COPY requirements requirements
RUN python -m venv /opt/costrouter \
 && /opt/costrouter/bin/pip install --no-cache-dir --require-hashes -r requirements/${REQUIREMENTS}.txt
COPY pyproject.toml README.md ./
COPY router router
COPY policies policies
RUN /opt/costrouter/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/costrouter/bin/pip uninstall --yes pip

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="costrouter" \
      org.opencontainers.image.description="Sends every LLM prompt to the cheapest model that meets the policy, and meters every cent"
RUN useradd --system --uid 10001 --home-dir /var/lib/costrouter --create-home costrouter
COPY --from=build /opt/costrouter /opt/costrouter
ENV PATH=/opt/costrouter/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    COSTROUTER_HOST=0.0.0.0 \
    COSTROUTER_PORT=8080 \
    COSTROUTER_DATA_DIR=/var/lib/costrouter
USER 10001:10001
VOLUME /var/lib/costrouter
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["costrouter"]
CMD ["serve"]
