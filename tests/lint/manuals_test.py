# SPDX-License-Identifier: BSD-3-Clause
"""The check of the manual pages against samples that leave something out, or tell of what is not there."""
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import manuals  # noqa: E402

ARGS = """
	{ "size", required_argument, NULL, ARGS_SIZE },
	{ "force", no_argument, NULL, ARGS_FORCE },
	{ "user", required_argument, NULL, OPT_USER },
	{ "server", required_argument, NULL, ARGS_SERVER },
	case OPT_USER:
		return ARGS_OWNER;
"""
COMMANDS = """
	{ "pool", "create", 1, -1, ARGS_SIZE | ARGS_FORCE, cmd_pool_create,
	  "NAME [--size SIZE] "
	  "[--force]",
	  "make \\"one\\"" },
	{ "ls", NULL, 1, 1, ARGS_OWNER | ARGS_SERVER, cmd_ls, "PLACE [--user U]", "files" },
"""
PAGE = """
.SH COMMANDS
.TP
.B pool create \\fINAME\\fR [\\fB\\-\\-size\\fR \\fISIZE\\fR] \\
[\\fB\\-\\-force\\fR]
.TP
.B ls \\fIPLACE\\fR [\\fB\\-\\-user\\fI U\\fR]
.SH OPTIONS
.B \\-\\-json \\-\\-socket \\-\\-server \\-\\-help
.SH EXIT STATUS
"""
COMPLETION = """
_wfs() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=
	case $prev in
	--size | --user | --server) return ;;
	esac
	case "${COMP_WORDS[*]:1:2}" in
	"pool create") words="--json --socket --help --size --force" ;;
	"ls -") words="--json --socket --help --user --server" ;;
	"pool ") words="create" ;;
	"") words="pool ls" ;;
	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
"""


@pytest.fixture
def known():
    return manuals.commands(COMMANDS, manuals.option_names(ARGS)[0])


def test_commands_are_read_from_their_table(known):
    assert known == {"pool create": ({"--size", "--force"}, "NAME [--size SIZE] [--force]"), "ls": ({"--user", "--server"}, "PLACE [--user U]")}
    assert manuals.option_names(ARGS)[1] == {"--size", "--user", "--server"}


@pytest.mark.parametrize("old, new, found", [
    ("", "", 0), (".B ls", ".B lt", 3), ("\\-\\-force", "\\-\\-farce", 2), (" \\-\\-server", "", 1), ("\\fIPLACE\\fR [", "\\fIPLACE\\fR [\\-\\-size] [", 1)])
def test_page_of_the_command_line(known, old, new, found):
    assert len(manuals.command_line(known, PAGE.replace(old, new))) == found


def test_usage_names_the_options(known):
    known["ls"] = (known["ls"][0] | {"--force"}, known["ls"][1])
    assert manuals.command_line(known, PAGE.replace("[\\fB\\-\\-user", "[\\-\\-force] [\\fB\\-\\-user")) == ["the usage of ls: nothing about --force"]


@pytest.mark.parametrize("old, new, found", [
    ("", "", 0), (" --size --force", " --size", 1), ("--user --server", "--user --server --size", 1), ('"create"', '"remove"', 1),
    ('"pool ls"', '"pool"', 1), ("| --user | ", "| ", 1), ("COMPREPLY=", "nonsense; COMPREPLY=", 1)])
def test_completion(known, tmp_path, old, new, found):
    script = tmp_path / "wfs.bash"
    script.write_text(COMPLETION.replace(old, new))
    assert len(manuals.completion(known, {"--size", "--user", "--server"}, str(script))) == found


HEADER = """
WFS_PUBLIC int wfs_f(struct wfs *w,
                     unsigned n);
"""
HEADER_PAGE = """
.Ft int
.Fn wfs_f "struct wfs *w" "unsigned n"
"""


@pytest.mark.parametrize("page, found", [
    (HEADER_PAGE, []),
    ("", ["libwfs.3: nothing about wfs_f"]),
    (HEADER_PAGE.replace("unsigned n", "int n"), ["libwfs.3: wfs_f is declared otherwise"]),
    (HEADER_PAGE.replace(".Ft int", ".Ft void"), ["libwfs.3: wfs_f is declared otherwise"]),
    (HEADER_PAGE + HEADER_PAGE.replace("wfs_f", "wfs_g"), ["libwfs.3: there is no wfs_g"]),
    (HEADER_PAGE * 2, ["libwfs.3: wfs_f stands there twice"]),
])
def test_page_of_the_library(page, found):
    assert manuals.public_functions(HEADER, page) == found


SCHEMA = """
static const struct conf_field tls_fields[] = {
	{ .key = "listen", .type = CONF_PATH },
};
static const struct conf_field rpc_fields[] = {
	{ .key = "socket",
	  .type = CONF_PATH },
	{ .key = "tls", .type = CONF_SECTION, .fields = tls_fields },
	END,
};
const struct conf_field conf_schema[] = {
	{ .key = "level", .type = CONF_PATH },
	{ .key = "rpc", .type = CONF_SECTION, .fields = rpc_fields },
	END,
};
"""
KEYS = """
.SS Top level
.TP
.BR "level" " (TEXT)"
.SS rpc
.TP
.BR "socket, tls: listen" " (PATH)"
.SH FILES
"""
EXAMPLE = """
level: 1
# rpc:
#  socket: a
#  tls:
#    listen: b
"""


@pytest.mark.parametrize("old, new, found", [
    ("", "", 0), ("socket, ", "", 1), ("socket", "sockets", 2), ("tls: listen", "listen", 2), (".SS rpc", ".SS nbd", 2), ("level", "", 2)])
def test_page_of_the_configuration(old, new, found):
    sections = manuals.configuration_keys(SCHEMA)
    assert sections == {"": {"level"}, "rpc": {"socket", "tls: listen"}}
    assert len(manuals.configuration(sections, KEYS.replace(old, new), EXAMPLE)) == found
    if not found:
        assert len(manuals.configuration(sections, KEYS, EXAMPLE.replace("socket:", ""))) == 1


LIST = """
.It Fl f
.It Fl -help , Fl o Cm a_b Ns = Ns Ar s , Cm c
Cm d
"""


def test_tags_of_lists():
    assert manuals.tags("x", {"-f", "--help", "a_b", "c"}, LIST) == []
    assert manuals.tags("x", {"d", "-a_b"}, LIST) == ["x: nothing about -a_b", "x: nothing about d"]
