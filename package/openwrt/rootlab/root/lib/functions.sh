# What packages use of OpenWrt's shell library, written anew and smaller.

N='
'

list_contains() {
	eval "case \" \$$1 \" in *\" $2 \"*) return 0 ;; esac"
	return 1
}

# What `uci export` prints is a script of these three.
package() { :; }

config() {
	CONFIG_SECTION=$2
	CONFIG_SECTIONS="$CONFIG_SECTIONS $2"
	eval "CONFIG_$2_TYPE=\$1"
}

option() { eval "CONFIG_${CONFIG_SECTION}_$1=\$2"; }

list() { eval "CONFIG_${CONFIG_SECTION}_$1=\"\${CONFIG_${CONFIG_SECTION}_$1} \$2\""; }

config_load() {
	local text var
	[ -z "$IPKG_INSTROOT" ] || return 0
	for var in $(set | sed -n 's/^\(CONFIG_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$var"; done
	CONFIG_SECTIONS=
	text=$(uci -S -n export "$1" 2>/dev/null) || return
	eval "$text"
}

config_get() { eval "$1=\${CONFIG_$2_$3:-\$4}"; }

config_get_bool() {
	local value
	config_get value "$2" "$3" "$4"
	case $value in
	1 | on | true | yes | enabled) value=1 ;;
	0 | off | false | no | disabled) value=0 ;;
	*) value=$4 ;;
	esac
	eval "$1=\$value"
}

config_foreach() {
	local section type
	for section in $CONFIG_SECTIONS; do
		config_get type "$section" TYPE
		[ -n "$2" ] && [ "$type" != "$2" ] || "$1" "$section"
	done
	false # what a loop returns says nothing of the file
}

user_exists() { grep -qs "^$1:" /etc/passwd; }
group_exists() { grep -qs "^$1:" /etc/group; }

# add_group_and_user makes who a package requires: name[=id]:group[=id]. Scripts
# of apk name the package by a variable.
add_group_and_user() {
	local user group id=32768
	IFS=: read -r user group <<-EOT
		$(cat "/lib/apk/packages/${pkgname:-$1}.rusers" 2>/dev/null || sed -n 's/^Require-User: *//p' "/usr/lib/opkg/info/$1.control")
	EOT
	[ -n "$user" ] || return 0
	while grep -q ":$id:" /etc/passwd /etc/group; do id=$((id + 1)); done
	group_exists "${group%=*}" || echo "${group%=*}:x:$id:${user%=*}" >>/etc/group
	user_exists "${user%=*}" || {
		echo "${user%=*}:x:$id:$id:${user%=*}:/var/run/${user%=*}:/bin/false" >>/etc/passwd
		echo "${user%=*}:x:0:0:99999:7:::" >>/etc/shadow
	}
}

default_postinst() {
	local name=${pkgname:-$(basename "${1%.*}")} file ret=0
	local files=/usr/lib/opkg/info/$name.list
	[ ! -f "/lib/apk/packages/$name.list" ] || files=/lib/apk/packages/$name.list
	add_group_and_user "$name"
	for file in $(grep -s '^/etc/uci-defaults/' "$files"); do
		(cd "$(dirname "$file")" && . "$file") && rm -f "$file"
	done
	uci commit
	[ ! -f "/usr/lib/opkg/info/$name.postinst-pkg" ] || (. "/usr/lib/opkg/info/$name.postinst-pkg")
	ret=$?
	for file in $(grep -s '^/etc/init.d/' "$files"); do
		[ "$PKG_UPGRADE" = 1 ] || "$file" enable
		"$file" start
	done
	return $ret
}

default_prerm() {
	local name=$(basename "${1%.*}") file ret=0
	[ ! -f "/usr/lib/opkg/info/$name.prerm-pkg" ] || (. "/usr/lib/opkg/info/$name.prerm-pkg")
	ret=$?
	for file in $(grep -s '^/etc/init.d/' "/usr/lib/opkg/info/$name.list"); do
		[ "$PKG_UPGRADE" = 1 ] || "$file" disable
		"$file" stop
	done
	return $ret
}
