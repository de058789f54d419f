"""Scripts that complete the command line in bash, zsh and fish, made from the parser and the catalogue.

Rules: a script asks nothing of faultline when it runs. A value that is no choice is left to the shell, which completes
files.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from typing import TypeAlias

from faultline._front.listing import choices, option_name, options_of, usage
from faultline.modes._catalogue import modes

HELP = "print a script that completes the command line in a shell"
SHELLS = ("bash", "zsh", "fish")
OF_MODES = ("--mode", "--then", "--beyond")  # the options whose value begins with the name of a mode

Options: TypeAlias = dict[str, tuple[str, ...] | None]  # the choices of each option; `None` if it takes no value


def add_completion_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `completion`."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")


def script_of(shell: str, top: argparse.ArgumentParser) -> str:
    """The script for a shell; `top` is the parser of the command."""
    commands = {name: options_in(parser) for name, parser in commands_in(top).items()}
    if shell == "fish":
        return "\n".join(fish(commands, top))
    return f"{SHEBANG if shell == 'zsh' else ''}{table(commands)}\n{ZSH if shell == 'zsh' else BASH}"


# --- what there is to complete ---------------------------------------------------------------------------------------


def commands_in(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands."""
    (commands,) = (each for each in top._actions if isinstance(each, argparse._SubParsersAction))  # noqa: SLF001 - argparse has no public list
    return {**commands.choices}


def options_in(parser: argparse.ArgumentParser) -> Options:
    """The options of a command, with their choices; those of its first argument under an empty name."""
    options: Options = {}
    for action in parser._actions:  # noqa: SLF001 - as above
        values = tuple(map(str, action.choices or ()))
        for option in action.option_strings[-1:] or ([""] if values else []):
            options[option] = None if action.nargs == 0 else values or (names() if option in OF_MODES else ())
    return options


def names() -> tuple[str, ...]:
    """The modes, as a command line has them."""
    return tuple(map(option_name, modes()))


def options_of_modes() -> dict[str, Options]:
    """The options of each mode, with their choices."""
    found: dict[str, Options] = {}
    for name, mode in modes().items():
        options = found[option_name(name)] = {}
        for parameter in options_of(mode):
            word, _, value = usage(parameter).partition(" ")
            options[word] = tuple(map(str, choices(parameter))) if value else None
    return found


# --- bash and zsh ----------------------------------------------------------------------------------------------------


SHEBANG = "#compdef faultline\n\n"
BASH = """\
_faultline() {
  local mode="" place words
  for ((place = 2; place < COMP_CWORD; place++)); do
    [ "${COMP_WORDS[place]}" = --mode ] && mode=${COMP_WORDS[place + 1]}
  done
  [ "$COMP_CWORD" -gt 1 ] && words=$(_faultline_words "${COMP_WORDS[1]}" "$mode" "${COMP_WORDS[COMP_CWORD - 1]}") ||
    words=$(_faultline_words "" "" "")
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}

complete -o default -F _faultline faultline
"""
ZSH = """\
_faultline() {
  local mode="" place
  for ((place = 3; place < CURRENT; place++)); do
    [ "${words[place]}" = --mode ] && mode=${words[place + 1]}
  done
  local before=""
  [ "$CURRENT" -gt 2 ] && before=${words[CURRENT - 1]}
  local -a found
  if [ "$CURRENT" -gt 2 ]; then
    found=(${=$(_faultline_words "${words[2]}" "$mode" "$before")})
  else
    found=(${=$(_faultline_words "" "" "")})
  fi
  if [ "${#found}" -gt 0 ]; then compadd -- $found; else _files; fi
}

if [ "${funcstack[1]}" = _faultline ]; then _faultline "$@"; else compdef _faultline faultline; fi
"""


def table(commands: dict[str, Options]) -> str:
    """A function of the shell that prints the words that may follow: for a command, a mode, and the word before."""
    lines = ["# The words that may follow: $1 is the command, $2 the mode, $3 the word before.", "_faultline_words() {"]
    lines += ['  case "$1 $3" in', f'    " ") echo "{" ".join(["--help", "--version", *commands])}"; return ;;']
    lines += cases(valued(commands))
    lines += ["  esac", '  case "$2 $3" in']
    lines += cases(valued(options_of_modes()))
    lines += ["  esac", '  case "$1" in']
    lines += [listed(command, options) for command, options in commands.items()]
    lines += ["  esac", '  case "$2" in']
    lines += [listed(mode, options) for mode, options in options_of_modes().items()]
    return "\n".join([*lines, "  esac", "}", ""])


def valued(owners: dict[str, Options]) -> dict[tuple[str, ...], list[str]]:
    """The options that take a value, each with its owner as a pattern, by the values."""
    found: dict[tuple[str, ...], list[str]] = {}
    for owner, options in owners.items():
        for option, values in options.items():
            if option and values is not None:
                found.setdefault(values, []).append(shlex.quote(f"{owner} {option}"))
    return found


def cases(patterns: dict[tuple[str, ...], list[str]]) -> list[str]:
    """Branches that print the values of options, or nothing, so that the shell completes files."""
    return [f"    {'|'.join(of)}) echo {shlex.quote(' '.join(values))}; return ;;" for values, of in patterns.items()]


def listed(owner: str, options: Options) -> str:
    """A branch that prints options, and the values of an argument."""
    words = [*(option for option in options if option), *(options.get("") or ())]
    return f"    {owner}) echo {shlex.quote(' '.join(words))} ;;"


# --- fish ------------------------------------------------------------------------------------------------------------


def fish(commands: dict[str, Options], top: argparse.ArgumentParser) -> Iterator[str]:
    """The lines of the script."""
    yield "complete -c faultline -n __fish_use_subcommand -l version -d 'print the version'"
    for command, parser in commands_in(top).items():
        yield f"complete -c faultline -f -n __fish_use_subcommand -a {command}"
        within = f"__fish_seen_subcommand_from {command}"
        if values := commands[command].get(""):
            yield f"complete -c faultline -f -n '{within}' -a {shlex.quote(' '.join(values))}"
        for action in parser._actions:  # noqa: SLF001 - as above
            for option in action.option_strings[-1:]:
                yield fish_line(within, option, commands[command][option], action.help or "")
    for mode, options in options_of_modes().items():
        within = f'string match -q -- "*--mode {mode} *" (commandline)'
        for option, values in options.items():
            yield fish_line(within, option, values, "")
    yield ""


def fish_line(within: str, option: str, values: tuple[str, ...] | None, text: str) -> str:
    """The line for an option."""
    words = ["complete", "-c", "faultline", "-n", within, "-l", option.lstrip("-")]
    words += ["-x", "-a", " ".join(values)] if values else ["-r"] if values is not None else []
    return shlex.join([*words, *(["-d", text.partition(";")[0]] if text else [])])
