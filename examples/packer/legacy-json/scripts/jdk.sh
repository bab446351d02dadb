set -eu
apt-get update
apt-get install -y --no-install-recommends "openjdk-$JDK-jre-headless"
echo "$BUILD" > /etc/image-build
