#!/usr/bin/env bash
# Makes what Driftline needs to keep secrets in the repository, encrypted: an age key (outside of
# the repository), .sops.yaml, and config/secrets.enc.yaml. What is there already is kept.
set -euo pipefail
umask 077

usage() {
	cat <<'END'
usage: config/setup_secrets.sh [--key FILE] [--replace] [NAME...]

  --key FILE   the age key  [default: $SOPS_AGE_KEY_FILE, else ~/.config/driftline/age.key]
  --replace    make config/secrets.enc.yaml anew, though there is one
  NAME...      the secrets to keep  [default: NEWSAPI_KEY, AWS_ACCESS_KEY_ID,
               AWS_SECRET_ACCESS_KEY, ALERT_WEBHOOK_URL]

The value of each is taken from the environment variable of that name; if it is not set, you are
asked for it. Nothing is ever taken from the command line, and no plain text is written to a file.
END
}

fail() {
	printf 'setup_secrets: %s\n' "$1" >&2
	exit 1
}

tell() { printf '%s\n' "$1" >&2; }

agreed() { # a question; without a terminal, or with Enter, the answer is no
	[ -t 0 ] || return 1
	local answer
	read -r -p "$1 [y/N] " answer
	[[ $answer == [yY]* ]]
}

key=${SOPS_AGE_KEY_FILE:-${XDG_CONFIG_HOME:-$HOME/.config}/driftline/age.key}
replace=no
names=()
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help)
		usage
		exit 0
		;;
	--key)
		[ $# -gt 1 ] || fail "--key needs a file"
		key=$2
		shift
		;;
	--replace) replace=yes ;;
	*)
		[[ $1 =~ ^[A-Z][A-Z0-9_]*$ ]] || fail "this is no name of a secret (see --help); give no values here"
		names+=("$1")
		;;
	esac
	shift
done
[ ${#names[@]} -gt 0 ] || names=(NEWSAPI_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY ALERT_WEBHOOK_URL)
case $key in /*) ;; *) key=$PWD/$key ;; esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
secrets=$root/config/secrets.enc.yaml
rules=$root/.sops.yaml

command -v age-keygen >/dev/null || fail "age is not installed: apt install age, or brew install age"
command -v sops >/dev/null || fail "sops is not installed: see https://getsops.io"

# 1. the key
if [ -e "$key" ]; then
	tell "key: $key is there and kept"
else
	mkdir -p "$(dirname "$key")"
	folder=$(cd "$(dirname "$key")" && pwd -P)
	if [[ $folder/ == "$root"/* ]] && ! git -C "$root" check-ignore -q "$folder/$(basename "$key")" 2>/dev/null; then
		fail "the key would lie in the repository, where git would see it; name another place with --key"
	fi
	age-keygen -o "$key" 2>/dev/null || fail "the key cannot be written to $key"
	tell "key: made $key. Keep a copy: what it encrypts is lost without it"
fi
recipient=$(age-keygen -y "$key" 2>/dev/null | head -n 1) || true
[ -n "$recipient" ] || fail "$key holds no age key"

# 2. the rules
if [ -e "$rules" ]; then
	if grep -qF "$recipient" "$rules"; then
		tell "rules: $rules names this key and is kept"
	elif agreed "rules: $rules names other keys. Replace it?"; then
		rm "$rules"
	else
		fail "$rules does not name this key: add $recipient to it by hand, or take the key that it names with --key"
	fi
fi
if [ ! -e "$rules" ]; then
	(
		umask 022
		cat >"$rules" <<END
# Who can open config/secrets.enc.yaml: age recipients, with commas between them; none is a secret.
creation_rules:
  - path_regex: (^|/)secrets\.enc\.yaml\$
    age: $recipient
END
	)
	tell "rules: made $rules"
fi

# 3. the secrets
if [ -e "$secrets" ] && [ $replace = no ] && ! agreed "secrets: $secrets is there. Replace it?"; then
	tell "secrets: $secrets is there and kept; --replace makes it anew, sops edit changes it"
	exit 0
fi

values=() # names and values in turn
for name in "${names[@]}"; do
	value=${!name:-}
	if [ -z "$value" ] && [ -t 0 ]; then
		read -r -s -p "$name (Enter for none): " value
		printf '\n' >&2
	fi
	if [ -n "$value" ]; then
		[[ $value == *[[:cntrl:]]* ]] && fail "the value of $name holds a line break or the like"
		values+=("$name" "$value")
	fi
done
[ ${#values[@]} -gt 0 ] || fail "there is nothing to encrypt: set ${names[*]} in the environment, or run this in a terminal"

plain() { # as YAML; printf is the shell's own, so no value shows in a list of processes
	local at quote="'"
	for ((at = 0; at < ${#values[@]}; at += 2)); do
		printf "%s: '%s'\n" "${values[at]}" "${values[at + 1]//$quote/$quote$quote}"
	done
}

for name in "${names[@]}"; do export -n "${name?}"; done # what sops is started with has none of them
draft=$(mktemp "$root/config/.secrets.XXXXXX")
trap 'rm -f "$draft"' EXIT
plain | sops --config "$rules" encrypt --filename-override "$secrets" \
	--input-type yaml --output-type yaml /dev/stdin >"$draft" || fail "sops could not encrypt"
grep -q 'ENC\[' "$draft" || fail "sops has encrypted nothing"
SOPS_AGE_KEY_FILE=$key sops decrypt --input-type yaml --output-type json "$draft" >/dev/null ||
	fail "what was encrypted cannot be opened again with $key"
chmod 644 "$draft"
mv "$draft" "$secrets"
tell "secrets: made $secrets with $((${#values[@]} / 2)) of ${#names[@]}; commit it, and $rules"
[ "$key" = "${XDG_CONFIG_HOME:-$HOME/.config}/driftline/age.key" ] ||
	tell "next: export SOPS_AGE_KEY_FILE=$key wherever Driftline runs"
