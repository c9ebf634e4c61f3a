# The binary alone: `make image` builds it statically and copies it beside this file.
FROM scratch
LABEL org.opencontainers.image.title="switchlet" \
      org.opencontainers.image.description="Makes a switch's configuration what Git says and proves that its FIB obeys the cluster" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY switchlet /switchlet
# Root: FRR's sockets belong to a group whose number differs from switch to switch. The DaemonSet takes away all powers but three.
USER 0:0
ENTRYPOINT ["/switchlet"]
CMD ["agent"]
