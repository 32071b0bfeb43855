"""The entry point and the one place where errors are caught. Contract: `interface.md`."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, NoReturn

import typer

from handshake import __version__
from handshake.cli import (
    verb_calibrate,
    verb_check,
    verb_ci,
    verb_clean,
    verb_config,
    verb_daemon,
    verb_decide,
    verb_demo,
    verb_diff,
    verb_distill,
    verb_doctor,
    verb_engines,
    verb_events,
    verb_gates,
    verb_hooks,
    verb_init,
    verb_jobs,
    verb_log,
    verb_manifest,
    verb_model,
    verb_new,
    verb_packet,
    verb_pause,
    verb_plan,
    verb_recorder,
    verb_recover,
    verb_refine,
    verb_replay,
    verb_report,
    verb_review,
    verb_run,
    verb_show,
    verb_skills,
    verb_status,
    verb_trust,
    verb_validate,
)
from handshake.cli.options import Globals
from handshake.cli.panels import arrange
from handshake.domain.errors import ExitCode, HandshakeError, PacketRefused

app = typer.Typer(
    name="handshake",
    help="A git-native agent: drop a signed task packet in, review the run as commits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for verb in (
    verb_init,
    verb_refine,
    verb_new,
    verb_check,
    verb_packet,
    verb_plan,
    verb_run,
    verb_daemon,
    verb_status,
    verb_jobs,
    verb_show,
    verb_replay,
    verb_diff,
    verb_log,
    verb_review,
    verb_validate,
    verb_decide,
    verb_pause,
    verb_recover,
    verb_clean,
    verb_events,
    verb_recorder,
    verb_report,
    verb_distill,
    verb_skills,
    verb_doctor,
    verb_calibrate,
    verb_engines,
    verb_model,
    verb_config,
    verb_trust,
    verb_gates,
    verb_manifest,
    verb_ci,
    verb_hooks,
    verb_demo,
):
    verb.register(app)
arrange(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"handshake {__version__}")
        raise typer.Exit


@app.callback()
def settings_of_all(
    context: typer.Context,
    repo: str = typer.Option(".", "--repo", "-C", help="Work in this repository.", metavar="DIR"),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress on stderr."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks.", envvar="HANDSHAKE_DEBUG"),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Options of every verb."""
    del version
    context.obj = Globals(directory=repo, quiet=quiet, debug=debug)


def entry() -> NoReturn:
    """Run the command line; leave with the contract's exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a file's name may be no text here: it is shown escaped, as JSON would write it, and stops nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command and give its exit code; the only place that turns errors into lines."""
    debug = "--debug" in arguments or bool(os.environ.get("HANDSHAKE_DEBUG"))
    try:
        result = typer.main.get_command(app).main(args=arguments, prog_name="handshake", standalone_mode=False)
    except HandshakeError as error:
        if debug:
            raise
        _say(error)
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _say_interrupted()
    except BrokenPipeError:
        # the reader of our output went away (`handshake log | head`): nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.DONE)
    except SystemExit:
        return int(ExitCode.DONE)  # typer's own way to leave, taken for a broken pipe alone
    except typer.Exit as leave:
        return leave.exit_code
    except _UsageRefused as error:
        return _say_usage(error)
    except OSError as error:
        if debug:
            raise
        return _say_os_error(error)
    if result == ExitCode.INTERRUPTED:  # typer turns Ctrl-C into this code
        return _say_interrupted()
    return result if isinstance(result, int) else int(ExitCode.DONE)


# the root of what typer refuses an argument with: click's class, or in later versions typer's own copy of it
_UsageRefused: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


def _say_usage(error: Any) -> int:
    """What is wrong with the arguments, in one line; the help where there were none."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        command = context.command_path if context else "handshake"
        sys.stderr.write(
            f"handshake: {' '.join(error.format_message().split()).rstrip('.')}. Next: {command} --help\n"
        )
    return int(ExitCode.USAGE)


def _say_interrupted() -> int:
    sys.stderr.write("handshake: interrupted; the state is committed. Next: run the same command to resume\n")
    return int(ExitCode.INTERRUPTED)


def _say(error: HandshakeError) -> None:
    if isinstance(error, PacketRefused):
        for finding in error.findings:
            sys.stderr.write(f"{finding}\n")
    sys.stderr.write(f"handshake: {error.line()}\n")


def _say_os_error(error: OSError) -> int:
    import errno

    what = (error.strerror or str(error)).rstrip(".")
    where = f": {error.filename}" if error.filename else ""
    mend = (
        "free some space, then run the same command" if error.errno == errno.ENOSPC else "mend that, then run again"
    )
    sys.stderr.write(f"handshake: {what}{where}. Next: {mend}\n")
    return int(ExitCode.ENVIRONMENT)


if __name__ == "__main__":
    entry()
