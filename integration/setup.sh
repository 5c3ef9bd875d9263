#!/bin/sh
# Makes sure that this machine has what the tests need besides Go.
#
# On Debian and Ubuntu it installs what is missing, when it may: as root, or through sudo when sudo asks for no
# password. Otherwise it prints what to install and fails. When nothing is missing it takes a second and touches
# nothing, so it may run before every test.
#
# FOOLSCAP_PYTHON names the Python interpreter to test with, instead of the system's.
set -eu

# One line each: a Debian package, then the command which shows that what we want from it works. The command decides,
# not the package database: an installation made in another way is as good.
needs='
gcc              compiles
libc6-dev        compiles
python3-foolscap "$python" -c "import foolscap.api"
python3-txtorcon "$python" -c "import txtorcon"
tor              system tor --version && system tor-gencert --help 2>&1 | grep passphrase-fd
microsocks       microsocks -h 2>&1 | grep SOCKS5
dante-server     system danted -v
strace           strace -o /dev/null true
util-linux       unshare --version
iproute2         ip link show lo
'

# The same choice as that of the tests.
python=${FOOLSCAP_PYTHON:-/usr/bin/python3}
[ -n "${FOOLSCAP_PYTHON:-}" ] || [ -e "$python" ] || python=python3

# Debian keeps servers where only root's PATH leads; the tests look there too.
system() {
	PATH=$PATH:/usr/sbin "$@"
}

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

# What no package can mend.
fail() {
	echo "$*" >&2
	exit 1
}

check_interpreter() {
	[ -n "${FOOLSCAP_PYTHON:-}" ] || return 0
	"$python" -c 'import foolscap.api, txtorcon' </dev/null || fail \
		"FOOLSCAP_PYTHON names $python, which cannot import foolscap.api and txtorcon:" \
		"install them there, or unset FOOLSCAP_PYTHON to use those of the system."
}

check_machine() {
	"$python" -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' </dev/null 2>/dev/null || fail \
		"The tests need IPv6 on the loopback interface, and ::1 cannot be used here. On Linux, as root:" \
		"sysctl net.ipv6.conf.lo.disable_ipv6=0; in a container, let its network have IPv6."
	unshare --map-root-user --mount --net --pid --fork true </dev/null 2>/dev/null || fail \
		"The integration tests need namespaces, which cannot be made here: allow unprivileged user namespaces, or" \
		"(in a container) give it the rights to make them."
}

check_interpreter

# The package names have no blanks in them, so splitting them is what we want from here on.
# shellcheck disable=SC2046,SC2086
set -- $(missing)
if [ $# -eq 0 ]; then
	check_machine
	exit 0
fi

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

case " $packages " in
*" tor "* | *" dante-server "*)
	echo "Debian runs servers that it installs. The tests start their own; to stop these:" \
		"systemctl disable --now tor danted" >&2
	;;
esac

# shellcheck disable=SC2046
set -- $(missing)
[ $# -eq 0 ] || give_up "They are installed now, and these still do not work: $*"
check_machine
