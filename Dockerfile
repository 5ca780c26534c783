# The relay alone, as one static binary in an empty image: no shell, no libraries, user 65532, data in /data.
#
#   docker build -t restante .
#   docker run -d --name restante -p 127.0.0.1:8484:8484 -v restante:/data --read-only \
#     -e RESTANTE_SERVER__ORIGINS=https://relay.example:443 restante
#
# `deploy/chroot.sh` replays these steps without an engine, and reads them from here.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# The dependencies first, behind empty crates: this layer stays until they change.
COPY Cargo.toml Cargo.lock ./
COPY crates/base/Cargo.toml crates/base/
COPY crates/relay/Cargo.toml crates/relay/
COPY .cargo .cargo
RUN mkdir src crates/base/src crates/relay/src && touch src/lib.rs crates/base/src/lib.rs crates/relay/src/lib.rs && \
    echo 'fn main() {}' > src/main.rs && \
    RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked \
      --no-default-features --features server --target "$(uname -m)-unknown-linux-gnu"
COPY relay.toml schema.sql ./
COPY crates crates
COPY src src
# The sources may be older than the empty crates that were just built; --target keeps the flags off build scripts and macros.
RUN touch src/lib.rs src/main.rs crates/base/src/lib.rs crates/relay/src/lib.rs && \
    RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked \
      --no-default-features --features server --target "$(uname -m)-unknown-linux-gnu" && \
    install -D -m 0755 target/*/release/restante /image/restante && \
    install -d -m 0700 /image/data

FROM scratch
COPY --from=build /image/restante /restante
# A fresh volume takes its owner from here.
COPY --from=build --chown=65532:65532 /image/data /data
ENV RESTANTE_SERVER__LISTEN=0.0.0.0:8484
ENV RESTANTE_SERVER__DATA=/data
USER 65532:65532
VOLUME /data
EXPOSE 8484
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s CMD ["/restante", "healthcheck"]
ENTRYPOINT ["/restante"]
CMD ["serve"]
