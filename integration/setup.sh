#!/bin/sh
# Makes sure that this machine has what the tests need besides Go.
#
# On Debian and Ubuntu it installs what is missing, when it may: as root, or through sudo when sudo asks for no
# password. Otherwise it prints what to install and fails. When nothing is missing it takes no time and touches
# nothing, so it may run before every test.
set -eu

# One line each: a Debian package, then the command which shows that what we want from it works. The command decides,
# not the package database: an installation made in another way is as good.
needs='
gcc              compiles
libc6-dev        compiles
python3-foolscap /usr/bin/python3 -c "import foolscap"
'

# The race detector links C code.
compiles() {
	printf '#include <pthread.h>\nint main(void) { return 0; }\n' |
		$("${GO:-go}" env CC) -x c -o /dev/null -
}

missing() {
	echo "$needs" | while read -r package check; do
		if [ -n "$package" ] && ! (eval "$check") >/dev/null 2>&1 </dev/null; then
			echo "$package"
		fi
	done
}

# The package names have no blanks in them, so splitting them is what we want from here on.
# shellcheck disable=SC2046,SC2086
set -- $(missing)
[ $# -eq 0 ] && exit 0

give_up() {
	{
		echo "The integration tests need what these Debian packages contain: $packages"
		echo "$1"
		echo "On Debian and Ubuntu:  sudo apt-get update && sudo apt-get install --no-install-recommends $packages"
		echo "Everything else can be tested without them:  go test ./..."
	} >&2
	exit 1
}

packages=$*
if ! command -v apt-get >/dev/null 2>&1; then
	give_up "This machine has no apt-get, so they have to be installed by hand."
elif [ "$(id -u)" -eq 0 ]; then
	may=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
	may='sudo -n'
else
	give_up "Installing them takes root, or sudo without a password."
fi

echo "Installing $packages" >&2
apt() {
	$may env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2
}
apt update || echo "The package lists could not be updated; trying with those that are here." >&2
apt install -y --no-install-recommends "$@" || give_up "apt-get could not install them."

# shellcheck disable=SC2046
set -- $(missing)
[ $# -eq 0 ] || give_up "They are installed now, and these still do not work: $*"
