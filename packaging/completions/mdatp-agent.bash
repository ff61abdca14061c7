# Completion of mdatp-agent for bash. The program itself knows what fits.
_mdatp_agent() {
  local line=${COMP_LINE:0:COMP_POINT} current found
  local -a words
  read -ra words <<<"$line"
  [[ $line != *[[:space:]] ]] || words+=("")
  current=${words[-1]}
  found=$(mdatp-agent complete -- "${words[@]:1}" 2>/dev/null) || return
  if [[ $found == :files ]]; then
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "${current##*=}")
    return
  fi
  mapfile -t COMPREPLY < <(printf '%s' "${found:+$found$'\n'}")
  # bash takes what stands behind = for a word of its own.
  [[ $current != *=* ]] || COMPREPLY=("${COMPREPLY[@]#*=}")
}
complete -F _mdatp_agent mdatp-agent mdatp agent
