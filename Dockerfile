# The image of a Cairn node.
#
#   docker build -t cairn .          from source: the first time 20 minutes on two cores (RocksDB, libp2p); after a change
#                                    of Cairn's own code only that is built again
#   docker build --target prebuilt --build-arg BINARY=cairn -f Dockerfile FOLDER
#                                    with the program FOLDER/cairn, built elsewhere for Debian 12
#
# BuildKit and the classic builder both build it. The classic one runs every stage above the one asked for, so the order of the
# stages matters.

# What is around the program: a user, folders, what Docker should know.
FROM debian:bookworm-slim AS base
# Docker gives a new volume the owner of the folder that it is mounted on, so each folder of a testnet is here, and nobody needs
# to be root.
RUN groupadd --gid 10001 cairn \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /cairn --shell /usr/sbin/nologin cairn \
 && install -d -o cairn -g cairn /cairn /testnet /testnet/keys /testnet/prometheus $(seq -f /testnet/node%g 0 99)
ENV CAIRN_HOME=/cairn
WORKDIR /cairn
USER 10001:10001
# Peers (TCP, and QUIC over UDP), RPC, metrics.
EXPOSE 26656/tcp 26656/udp 26657/tcp 26660/tcp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["cairn", "query", "ready"]
ENTRYPOINT ["cairn"]
CMD ["start"]
LABEL org.opencontainers.image.title="Cairn" \
      org.opencontainers.image.description="A Tendermint-style proof-of-stake validator node" \
      org.opencontainers.image.licenses="Apache-2.0"

# With a program from the build's folder. The default stands for it where the classic builder passes by.
FROM base AS prebuilt
ARG BINARY=LICENSE
COPY ${BINARY} /usr/local/bin/cairn

# The manifests alone, less remarks, with empty crates around them: what the dependencies follow from.
FROM debian:bookworm-slim AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -path ./scripts/setup \
      ! -path './*/src/lib.rs' ! -path './*/src/main.rs' ! -path './*/build.rs' -delete \
 && for file in $(find . -name '*.rs'); do echo 'fn main() {}' > $file; done \
 && for file in $(find . -name Cargo.toml); do \
      awk '/^\[/ { test = /^\[\[(test|bench)\]\]/ } !test && !/^(#|$)/' $file > /tmp/manifest && cat /tmp/manifest > $file; done \
 && find . -type d -empty -delete

FROM rust:1.95-slim-bookworm AS build
# No debug information: nobody looks for it in an image.
ENV CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_STRIP=symbols
WORKDIR /src
# Compilers and libclang, then the dependencies: two layers that stay until a manifest changes.
COPY --from=manifests /src/scripts /src/scripts
COPY --from=manifests /src/Cargo.toml /src/Cargo.toml
RUN scripts/setup --yes
COPY --from=manifests /src /src
RUN cargo build --release --locked -p cairn-node --bin cairn
COPY . .
# The commit that `cairn version` names, if the builder says it: the sources come without .git here.
ARG CAIRN_COMMIT
# cargo goes by times, and the empty crates may be younger than what takes their place. Not so in target, where a newer file
# would have the dependencies compiled again.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
 && cargo build --release --locked -p cairn-node --bin cairn \
 && cp target/release/cairn /usr/local/bin/cairn

FROM base AS runtime
COPY --from=build /usr/local/bin/cairn /usr/local/bin/cairn
