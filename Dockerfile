# SPDX-License-Identifier: BSD-3-Clause
# wfsd in a container. Pools live on files in the volume /var/lib/wfsd, or on devices handed in with --device.
#
#   docker build -t wfsd .
#   docker run -d --name wfsd -p 10809:10809 -v wfsd:/var/lib/wfsd --security-opt seccomp=unconfined wfsd
#   docker exec wfsd wfs pool create tank /var/lib/wfsd/tank.img --size 10G
#   docker exec wfsd wfs volume create tank/vm1 5G
#   docker exec wfsd wfs export add tank/vm1
#
# io_uring is closed by the default seccomp profile of some engines, hence the security option. The daemon runs as the
# user "wfsd"; for a device that this user may not open add --group-add with the device's group, or --user 0.
FROM debian:12-slim AS build
COPY tests/packages /src/tests/packages
RUN apt-get update \
 && sed -n 's/^build //p' /src/tests/packages \
  | DEBIAN_FRONTEND=noninteractive xargs apt-get install -y --no-install-recommends \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make -j"$(nproc)" all BUILD=release WERROR= \
 && make install WERROR= PREFIX=/usr DESTDIR=/out

FROM debian:12-slim
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        libcurl4 libevent-2.1-7 libevent-pthreads-2.1-7 libisal2 libjansson4 libsystemd0 liburcu8 liburing2 \
        libxxhash0 libyaml-0-2 libgnutls30 libfuse3-3 libnfs13 fuse3 nbdkit \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --system --gid 990 wfsd \
 && useradd --system --uid 990 --gid wfsd --home-dir /var/lib/wfsd --no-create-home --shell /usr/sbin/nologin wfsd \
 && install -d -o wfsd -g wfsd -m 750 /var/lib/wfsd \
 && install -d -o wfsd -g wfsd -m 755 /run/wfsd
COPY --from=build /out/ /
USER wfsd
VOLUME /var/lib/wfsd
EXPOSE 10809
HEALTHCHECK --interval=10s --timeout=5s CMD [ "wfs", "status" ]
STOPSIGNAL SIGTERM
ENTRYPOINT [ "/usr/sbin/wfsd", "--config", "/etc/wfsd/wfsd.yaml" ]
