"""`sweep.py completion`: print what switches on the completion of words in a shell."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from uniclip.errors import UserError, make_unknown_name_error

CONSOLE_COMMAND = "uniclip-sweep"
SHELLS = ("bash", "zsh", "fish")
EPILOG = """\
  eval "$(python sweep.py completion bash)"       in ~/.bashrc; also completes python sweep.py
  eval "$(uniclip-sweep completion zsh)"          in ~/.zshrc, after compinit
  uniclip-sweep completion fish | source          in ~/.config/fish/config.fish
"""
BASH_SCRIPT = """
_uniclip_sweep_script() {
    COMPREPLY=()
    [[ "${COMP_WORDS[1]-}" == *sweep.py && $COMP_CWORD -gt 1 ]] || return 0
    local IFS=$'\\013'
    COMPREPLY=($(IFS="$IFS" COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" \\
        COMP_TYPE="$COMP_TYPE" _ARGCOMPLETE=2 _ARGCOMPLETE_SHELL=bash \\
        _ARGCOMPLETE_COMP_WORDBREAKS="$COMP_WORDBREAKS" _ARGCOMPLETE_SUPPRESS_SPACE=1 \\
        "$1" "${COMP_WORDS[1]}" 8>&1 9>&2 1>/dev/null 2>&1 </dev/null)) || COMPREPLY=()
    if [[ "${COMPREPLY-}" =~ [=/:]$ ]]; then compopt -o nospace 2>/dev/null; fi
    return 0
}
complete -o default -o bashdefault -F _uniclip_sweep_script python python3
"""
"""Completion of `python sweep.py`; any other script after python is completed as a file."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the shell."""
    parser.add_argument("names", nargs="*", metavar="shell", help=" | ".join(SHELLS))
    parser.epilog = EPILOG


def run(arguments: Namespace) -> int:
    """Print the code that a shell evaluates."""
    from argcomplete.shell_integration import shellcode  # here: --help does not need it

    if arguments.overrides or len(arguments.names) != 1:
        raise UserError(f"completion takes one shell: {', '.join(SHELLS)}")
    (shell,) = arguments.names
    if shell not in SHELLS:
        raise make_unknown_name_error("shell", shell, SHELLS)
    print(shellcode([CONSOLE_COMMAND], shell=shell))
    if shell == "bash":
        print(BASH_SCRIPT)
    return 0
