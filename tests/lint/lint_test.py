# SPDX-License-Identifier: BSD-3-Clause
"""The linter against samples that break its rules, and one that keeps them."""
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))
import include_rules  # noqa: E402
import lint  # noqa: E402
import public_headers  # noqa: E402
import run  # noqa: E402

HEAD = "/* SPDX-License-Identifier: BSD-3-Clause */\n/* A sample. */\n"


def tree(root, **sources):
    """Write {"core/base/a.c": text}; keys use __ for / and end with _c or _h."""
    for key, text in sources.items():
        name = key.replace("__", "/")
        path = root / (name[:-2] + "." + name[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + text)


def problems(root):
    return lint.lint(root, with_format=False)[0]


@pytest.mark.parametrize(
    "path, target",
    [
        ("core/base/a.c", "core/blk/blk.h"),
        ("core/blk/a.c", "core/cache/cache.h"),
        ("core/cache/a.c", "core/vfs/vfs.h"),
        ("core/vfs/a.c", "core/fs/wfs3/tree.h"),
        ("core/fs/wfs3/a.c", "core/fs/fat/fat.h"),
        ("core/fs/wfs3/a.c", "core/vfs/mount_table.h"),
        ("core/fs/wfs3/a.c", "server/loop/loop.h"),
        ("protocol/rpc/a.c", "core/vfs/vfs.h"),
        ("protocol/rpc/a.c", "protocol/client/wfs.h"),
        ("protocol/client/a.c", "server/rpc/rpc.h"),
        ("server/rpc/a.c", "core/fs/wfs3/tree.h"),
        ("server/rpc/a.c", "server/admin/admin.h"),
        ("server/rpc/a.c", "protocol/client/wfs.h"),
        ("server/loop/a.c", "core/vfs/vfs.h"),
        ("server/ctl/a.c", "core/vfs/vfs.h"),
        ("plugins/nbdkit/a.c", "server/rpc/rpc.h"),
        ("plugins/nbdkit/a.c", "plugins/fuse/fuse.h"),
        ("plugins/nbdkit/a.c", "core/fs/wfs3/tree.h"),
        ("server/startup.c", "core/fs/wfs3/wfs3.h"),
        ("server/startup.c", "protocol/client/wfs.h"),
        ("server/mount/mount.c", "core/fs/fat/fat.h"),
        ("server/mount/mount.c", "core/blk/blk_ops.h"),
        ("server/admin/a.c", "server/mount/kind.h"),
        ("server/new/a.c", "core/base/err.h"),
        ("elsewhere/a.c", "core/base/err.h"),
    ],
)
def test_include_that_goes_up_or_sideways_is_refused(path, target):
    assert include_rules.check_own(path, target)


@pytest.mark.parametrize(
    "path, target",
    [
        ("core/base/a.c", "core/base/err.h"),
        ("core/cache/a.c", "core/blk/blk.h"),
        ("core/fs/wfs3/a.c", "core/fs/wfs3/tree.h"),
        ("core/fs/wfs3/a.c", "core/vfs/vfs_ops.h"),
        ("core/vfs/a.c", "core/base/sync.h"),
        ("protocol/client/a.c", "protocol/rpc/rpc.h"),
        ("server/rpc/a.c", "core/vfs/vfs.h"),
        ("server/rpc/a.c", "protocol/rpc/rpc.h"),
        ("server/main.c", "core/fs/wfs3/wfs3.h"),
        ("server/mount/kind_fat.c", "core/fs/fat/fat.h"),
        ("server/mount/vfs_blk.c", "core/blk/hosted.h"),
        ("server/startup.c", "server/conf/conf.h"),
        ("server/admin/a.c", "server/nbd/nbd.h"),
        ("plugins/nbdkit/a.c", "protocol/client/wfs.h"),
        ("tests/unit/core/fs/a_test.c", "server/rpc/rpc.h"),
    ],
)
def test_include_that_goes_down_is_allowed(path, target):
    assert include_rules.check_own(path, target) is None


@pytest.mark.parametrize(
    "path, target",
    [
        ("core/fs/wfs3/a.c", "liburing.h"),
        ("core/vfs/a.c", "pthread.h"),
        ("server/rpc/a.c", "curl/curl.h"),
        ("core/vfs/a.c", "event2/event.h"),
        ("protocol/xdr/a.c", "sys/socket.h"),
        ("server/nbd/a.c", "nbdkit-plugin.h"),
    ],
)
def test_library_outside_its_home_is_refused(path, target):
    assert include_rules.check_system(path, target)


def test_clean_tree_has_no_problems(tmp_path):
    tree(tmp_path, core__base__err_h="int err(void);\n", core__base__err_c='#include "core/base/err.h"\n')
    assert problems(tmp_path) == []


def test_bad_includes_and_calls_are_reported_with_their_line(tmp_path):
    tree(
        tmp_path,
        core__blk__blk_h="",
        core__base__a_c='#include "core/blk/blk.h"\n#include "err.h"\nvoid f(void)\n{\n\tsleep(1);\n}\n',
    )
    found = problems(tmp_path)
    assert [p.split(": ")[0] for p in found] == ["core/base/a.c:3", "core/base/a.c:4", "core/base/a.c:7"]


def test_words_in_comments_and_strings_are_no_calls(tmp_path):
    tree(tmp_path, core__base__a_c='/* sleep(1) */\nconst char *s = "sleep(1)";\n')
    assert problems(tmp_path) == []


def test_missing_licence_or_purpose_is_reported(tmp_path):
    (tmp_path / "core/base").mkdir(parents=True)
    (tmp_path / "core/base/a.c").write_text("int a;\n")
    (tmp_path / "core/base/b.c").write_text(HEAD.splitlines()[0] + "\nint b;\n")
    found = problems(tmp_path)
    assert len(found) == 2 and "SPDX" in found[0] and "purpose" in found[1]


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "X" + "XX"])
def test_unfinished_work_is_reported(tmp_path, word):
    tree(tmp_path, core__base__a_c=f"/* {word} later */\n")
    assert len(problems(tmp_path)) == 1


def test_mkstemp_template_is_not_unfinished_work(tmp_path):
    tree(tmp_path, core__base__a_c='char t[] = "wfsd-' + "X" * 6 + '";\n')
    assert problems(tmp_path) == []


def test_path_of_this_machine_is_reported(tmp_path):
    tree(tmp_path, core__base__a_c=f'const char *p = "{tmp_path}/x";\n')
    assert any("machine" in p for p in problems(tmp_path))


def test_blanks_at_line_end_and_missing_newline_are_reported(tmp_path):
    tree(tmp_path, core__base__a_c="int a; \nint b;")
    assert len(problems(tmp_path)) == 2


def function(name, body_lines):
    return f"int {name}(void)\n{{\n" + "\tx();\n" * body_lines + "}\n"


def test_functions_are_measured_with_their_signature():
    text = "struct s {\n\tint a;\n};\n\n" + function("one", 3) + "\nstatic int\ntwo(int a,\n    int b)\n{\n}\n"
    assert list(lint.functions(text)) == [("one", 5, 6), ("two", 12, 5)]


def test_long_function_and_long_file_are_reported(tmp_path):
    tree(tmp_path, core__base__a_c=function("f", 68), core__base__b_c="int b;\n" * 599)
    assert problems(tmp_path) == ["core/base/a.c:f: 71 lines, at most 70", "core/base/b.c: 601 lines, at most 600"]


@pytest.mark.parametrize(
    "allowed, expected", [(71, None), (70, "grew"), (90, "shrank"), (None, "at most 70")]
)
def test_exception_must_name_the_exact_size(tmp_path, allowed, expected):
    tree(tmp_path, core__base__a_c=function("f", 68))
    (tmp_path / "tests/lint").mkdir(parents=True)
    (tmp_path / lint.EXCEPTIONS).write_text(f"core/base/a.c:f {allowed}\n" if allowed else "")
    found = problems(tmp_path)
    assert (found == []) if expected is None else (len(found) == 1 and expected in found[0])


def test_exception_that_nothing_needs_is_reported(tmp_path):
    tree(tmp_path, core__base__a_c=function("f", 3))
    (tmp_path / "tests/lint").mkdir(parents=True)
    (tmp_path / lint.EXCEPTIONS).write_text("core/base/a.c:f 80\ncore/base/gone.c 700\n")
    found = problems(tmp_path)
    assert len(found) == 2 and "no longer needed" in found[0] and "not there" in found[1]


def test_malformed_exception_is_reported(tmp_path):
    (tmp_path / "tests/lint").mkdir(parents=True)
    (tmp_path / lint.EXCEPTIONS).write_text("core/base/a.c eighty\n")
    assert "expected" in problems(tmp_path)[0]


def fake_clang_format(folder, version):
    tool = folder / "clang-format"
    tool.write_text(f"#!/bin/sh\n[ $1 != --version ] || {{ echo 'clang-format version {version}'; exit 0; }}\n"
                    "echo \"$3:3:1: error: code should be clang-formatted\" >&2\nexit 1\n")
    tool.chmod(0o755)
    return str(tool)


@pytest.mark.parametrize("version, expected", [("14.0.6", ["core/base/a.c:3: not formatted (make format)"]), ("19.1.7", [])])
def test_unformatted_file_is_reported_by_the_one_version_that_judges(tmp_path, monkeypatch, version, expected):
    tree(tmp_path, core__base__a_c="int   a ;\n")
    monkeypatch.setenv("CLANG_FORMAT", fake_clang_format(tmp_path, version))
    assert lint.check_format(tmp_path, ["core/base/a.c"]) == expected


def test_command_line_fails_when_there_are_problems(tmp_path):
    tree(tmp_path, core__base__a_c='#include "nowhere.h"\n')
    result = subprocess.run([sys.executable, HERE / "lint.py", tmp_path], capture_output=True, text=True)
    assert result.returncode == 1 and "nowhere.h" in result.stdout


@pytest.mark.parametrize(
    "output, status, expected",
    [
        ("1..2\nok 1 - a\nok 2 - b\n", 0, (2, 0, 0)),
        ("1..2\nok 1 - a\nnot ok 2 - b\n", 1, (1, 1, 0)),
        ("1..1\nok 1 - a\n1..1\nok 1 - b\n", 0, (2, 0, 0)),
        ("1..3\nok 1 - a\n", -11, (1, 2, 0)),
        ("1..1\nok 1 - a\n", 66, (1, 1, 0)),
        ("1..2\nok 1 - a\nnot ok 2 # SKIP b\n", 0, (1, 0, 1)),
        ("", 0, (0, 1, 0)),
        ("", 127, (0, 1, 0)),
    ],
)
def test_tap_is_counted_and_what_did_not_run_has_failed(output, status, expected):
    assert run.parse_tap(output, status) == expected


def test_hanging_program_is_stopped():
    status, output = run.run(["sh", "-c", "echo begun; sleep 60"], 0.5, run.environment())
    assert status == -1 and "begun" in output and "stopped after" in output


def test_part_without_tests_has_failed(capsys, monkeypatch):
    monkeypatch.setattr(run, "make", lambda *_: True)
    monkeypatch.setattr(run, "part_pytest", lambda *_: None)
    assert run.main(["py"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 1 failed"


def test_what_was_not_run_is_told_before_the_last_line(capsys, monkeypatch, tmp_path):
    (tmp_path / "a_test.py").write_text("""
import pytest

def test_a():
    pass

@pytest.mark.skip(reason="there is no moon")
@pytest.mark.parametrize("n", [1, 2])
def test_b(n):
    pass

def test_c():
    pytest.skip("it rains")
""")
    (tmp_path / "build").mkdir()
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "make", lambda *_: True)
    monkeypatch.setattr(run, "part_py", lambda tally: run.part_pytest(tally, [tmp_path]))
    assert run.main(["py"]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "not run: 2 of py: there is no moon", "not run: 1 of py: it rains", "1 passed, 0 failed"]


def test_part_that_breaks_does_not_stop_the_others(capsys, monkeypatch):
    def breaks(*_):
        raise OSError("no fork")

    monkeypatch.setattr(run, "part_py", breaks)
    monkeypatch.setattr(run, "part_lint", lambda tally: tally.add(3, 0))
    assert run.main(["py", "lint"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "3 passed, 1 failed"


def test_long_output_is_cut_to_lines_that_can_be_read():
    shown = run.tail("x" * 5000 + "\n" + "y\n" * 1000).splitlines()
    assert len(shown) == run.TAIL_LINES + 1 and max(map(len, shown)) <= run.LINE_CHARS_MAX + 4


def test_public_headers_are_read_as_a_compiler_would():
    text = """
/* int hidden(void); */
#define WFS_A 3u /* the third */
enum wfs_e { WFS_B = 1, /* one */ WFS_C = 20,
};
struct wfs_s {
	uint32_t x, y; /* two */
	const char *name;
	uint8_t bytes[WFS_A + 1];
	enum wfs_e e;
};
WFS_PUBLIC int wfs_f(struct wfs *w, /* whose */
                     const char *name);
WFS_PUBLIC char *wfs_g(void);
"""
    assert public_headers.functions(text) == [
        public_headers.Function("int", "wfs_f", ("struct wfs *w", "const char *name")),
        public_headers.Function("char *", "wfs_g", ()),
    ]
    assert public_headers.constants(text) == {"WFS_A": 3, "WFS_B": 1, "WFS_C": 20}
    assert public_headers.members(text, "wfs_s") == [
        ("uint32_t", "x", ""), ("uint32_t", "y", ""), ("const char *", "name", ""), ("uint8_t", "bytes", "WFS_A + 1"), ("enum wfs_e", "e", "")]
    with pytest.raises(ValueError):
        public_headers.members(text, "wfs_t")
