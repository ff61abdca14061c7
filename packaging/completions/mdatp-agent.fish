# Completion of mdatp-agent for fish. The program itself knows what fits.
function __mdatp_agent_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found (mdatp-agent complete -- $words[2..-1] 2>/dev/null)
    if test "$found" = :files
        __fish_complete_path (string replace -r '^-.*?=' '' -- $words[-1])
    else
        string join \n -- $found
    end
end
for name in mdatp-agent mdatp agent
    complete -c $name -f -a '(__mdatp_agent_complete)'
end
