#compdef mdatp-agent agent
# Completion of mdatp-agent for zsh. The program itself knows what fits.
local found
found=$(mdatp-agent complete -- "${(@)words[2,CURRENT]}" 2>/dev/null) || return
if [[ $found == :files ]]; then
  [[ $PREFIX == -*=* ]] && compset -P '*='
  _files
else
  compadd -- ${(f)found}
fi
