# Packages that the suites have installed are not fetched anew.
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1
rm -f target/mine.toml target/mine.cedar target/cache.toml
