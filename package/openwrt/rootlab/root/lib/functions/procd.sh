# procd's shell functions that packages use. A message is written as JSON from
# left to right; what belongs to a jail is gathered until its instance is closed.

_json= _sep= _in=

# _next begins a member: with its name in an object, without in an array.
_next() {
	_json="$_json$_sep"
	_sep=,
	case $_in in o*) _json="$_json\"$1\":" ;; esac
}
_open() { # KIND BRACKET NAME
	_next "$3"
	_json="$_json$2"
	_sep=
	_in="$1$_in"
}
_close() {
	_json="$_json$1"
	_sep=,
	_in=${_in#?}
}
json_add_object() { _open o '{' "$1"; }
json_close_object() { _close '}'; }
json_add_array() { _open a '[' "$1"; }
json_close_array() { _close ']'; }
json_add_string() {
	case $2 in *[\"\\]*) echo "this stand-in cannot write $2" >&2 ;; esac
	_next "$1"
	_json="$_json\"$2\""
}
json_add_int() {
	_next "$1"
	_json="$_json$2"
}

procd_lock() {
	exec 9>"/var/lock/procd_$(basename "$initscript").lock"
	flock 9
}

procd_open_service() {
	_json='{' _sep= _in=o
	json_add_string name "$1"
	json_add_object instances
}
procd_close_service() {
	json_close_object
	json_add_array triggers
	service_triggers
	json_close_array
	json_add_object data
	service_data
	json_close_object
	ubus call service set "$_json}"
}
procd_open_instance() {
	json_add_object "$1"
	_jail= _flags= _mounts=
}
procd_close_instance() {
	local one
	[ -z "$_jail" ] || {
		json_add_object jail
		json_add_string name "$_jail"
		json_add_array flags
		for one in $_flags; do json_add_string '' "$one"; done
		json_close_array
		json_add_object mount
		for one in $_mounts; do json_add_string "${one%=*}" "${one##*=}"; done
		json_close_object
		json_close_object
	}
	json_close_object
}
procd_set_param() {
	local type=$1 one
	shift
	case $type in
	command | respawn | file)
		json_add_array "$type"
		for one; do json_add_string '' "$one"; done
		json_close_array
		;;
	env | limits)
		json_add_object "$type"
		for one; do json_add_string "${one%%=*}" "${one#*=}"; done
		json_close_object
		;;
	term_timeout) json_add_int "$type" "$1" ;;
	reload_signal) json_add_int "$type" "$(kill -l "$1")" ;;
	stderr | user | group | capabilities | no_new_privs) json_add_string "$type" "$1" ;;
	*) echo "this stand-in knows no parameter $type" >&2 ;;
	esac
}
procd_add_jail() {
	_jail=$1
	shift
	_flags=$*
}
_mount() {
	local one how=$1
	shift
	[ -n "$_jail" ] || echo "there is no jail to mount $* in" >&2
	for one; do case " $_mounts " in
		*" $one="*) ;;
		*) _mounts="$_mounts $one=$how" ;;
		esac
	done
}
procd_add_jail_mount() { _mount 0 "$@"; }
procd_add_jail_mount_rw() { _mount 1 "$@"; }

procd_add_reload_trigger() {
	json_add_object ''
	json_add_string event config.change
	json_add_string package "$1"
	json_add_array run
	json_add_string '' "$initscript"
	json_add_string '' reload
	json_close_array
	json_close_object
}
procd_set_config_changed() {
	ubus call service event "{\"type\":\"config.change\",\"data\":{\"package\":\"$1\"}}"
}
procd_send_signal() {
	ubus call service signal "{\"name\":\"$1\",\"instance\":\"$2\",\"signal\":$(kill -l "$3")}"
}
procd_kill() {
	ubus call service delete "{\"name\":\"$1\"}" 2>/dev/null
}
