# SPDX-License-Identifier: BSD-3-Clause
"""The manual pages, the completion and the example configuration against the tables in the code that they speak of."""
import pathlib
import re
import subprocess

import public_headers

MANUALS = "docs/man"
COMPLETION = "config/wfs.bash"
# In every command's line of options; the commands that speak to a server of files share --server in the same way.
COMMON = {"--json", "--socket", "--help"}
SHARED = {"--server"}
# Asks the completion in $1 for each line of the input, whose last word is the one that is being typed.
ASK = r"""
wfs() { :; }
source "$1"
while IFS= read -r line; do
	read -ra COMP_WORDS <<<"$line"
	[[ $line == *" " ]] && COMP_WORDS+=("")
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	_wfs
	echo "${COMPREPLY[@]}"
done
"""


def plain(man):
    """Roff without fonts and macros' quotes, continued lines as one."""
    return re.sub(r"\\f[A-Z]", "", man.replace("\\\n", "")).replace("\\-", "-").replace('"', "")


def differences(what, wanted, found):
    return [f"{what}: nothing about {name}" for name in sorted(wanted - found)] + [
        f"{what}: there is no {name}" for name in sorted(found - wanted)]


def public_functions(headers, man):
    """Each public function stands once in the page, as the header declares it."""
    wanted = {f.name: (f.returns, f.parameters) for f in public_headers.functions(headers)}
    found = {}
    problems = []
    for returns, name, parameters in re.findall(r"^\.Ft (.*)\n\.Fn (\w+)(.*)$", man, re.M):
        if name in found:
            problems.append(f"libwfs.3: {name} stands there twice")
        found[name] = (returns.strip('"'), tuple(re.findall(r'"(.*?)"', parameters)))
    problems += differences("libwfs.3", wanted.keys(), found.keys())
    return problems + [f"libwfs.3: {name} is declared otherwise" for name in sorted(wanted.keys() & found) if wanted[name] != found[name]]


def option_names(args_c):
    """{"ARGS_SIZE": {"--size"}, ...}, and the options that take a value."""
    names, bits, with_value = {}, {}, set()
    for cases, bit in re.findall(r"((?:\tcase \w+:\n)+)\t\treturn (ARGS_\w+);", args_c):
        bits.update(dict.fromkeys(re.findall(r"case (\w+)", cases), bit))
    for name, takes, number in re.findall(r'\{ "([a-z-]+)", (\w+), NULL, (\w+) \}', args_c):
        names.setdefault(bits.get(number, number), set()).add(f"--{name}")
        if takes == "required_argument":
            with_value.add(f"--{name}")
    return names, with_value


def commands(command_c, names):
    """{"pool create": (its options, its line of usage)}"""
    found = {}
    text = r'"((?:[^"\\]|\\.)*)"'
    row = rf'\{{ {text}, (?:{text}|NULL), -?\d+, -?\d+, ([\w |]+),\s+cmd_\w+,\s+{text}((?:\s+{text})*),\s+{text} \}}'
    for match in re.finditer(row, command_c):
        options = set().union(*(names[bit] for bit in match[3].split(" | ") if bit != "0"))
        usage = match[4] + "".join(re.findall(text, match[5]))
        found[f"{match[1]} {match[2] or ''}".strip()] = (options, usage)
    return found


def options_in(text):
    return {"--options" if option == "-o" else option for option in re.findall(r"(?<![\w-])(--[a-z][a-z-]*|-o)\b", text)}


def command_line(known, man):
    """Every command has a heading of its own in the page, with its options; so has its line of usage."""
    headings, problems = {}, []
    commands_section = plain(man).partition(".SH COMMANDS")[2].partition(".SH ")[0]
    for heading in re.findall(r"^\.T[PQ]\n\.BR? (.*)$", commands_section, re.M):
        for one in re.split(r"(?<!\.\.\.), (?=[a-z])", heading):
            two = " ".join(one.split()[:2])
            name = two if two in known else one.split()[0]
            if name in known:
                headings.setdefault(name, set()).update(options_in(one))
            else:
                problems.append(f"wfs.1: there is no command {one}")
    problems += differences("wfs.1", known.keys(), headings.keys())
    for name, (options, usage) in known.items():
        problems += differences(f"wfs.1: {name}", options - SHARED, headings.get(name, set()))
        problems += differences(f"the usage of {name}", options - SHARED, options_in(usage))
    general = plain(man).partition(".SH OPTIONS")[2].partition(".SH EXIT")[0]
    return problems + [f"wfs.1: {option} is not among the options" for option in sorted(SHARED | COMMON) if option not in general]


def completion(known, with_value, script):
    """What the completion offers is what there is; behind an option with a value it does not offer operands."""
    nouns = {name.split()[0] for name in known}
    lines = ["wfs "] + [f"wfs {name} -" for name in known] + [f"wfs {noun} " for noun in sorted(nouns)]
    done = subprocess.run(["bash", "-c", ASK, "ask", script], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False, timeout=60)
    answers = dict(zip(lines, ({*line.split()} for line in done.stdout.splitlines())))
    if len(answers) != len(lines) or done.stderr:
        return [f"{COMPLETION}: failed: {done.stderr.strip()}"]
    problems = differences(f"{COMPLETION}: commands", nouns, answers["wfs "])
    for name, (options, _) in known.items():
        wanted = COMMON | {"-o" if option == "--options" else option for option in options}
        problems += differences(f"{COMPLETION}: {name}", wanted, answers[f"wfs {name} -"])
    for noun in nouns:
        verbs = {name.split()[1] for name in known if name.startswith(f"{noun} ")}
        problems += [f"{COMPLETION}: nothing about {noun} {verb}" for verb in sorted(verbs - answers[f"wfs {noun} "])]
    handled = options_in(pathlib.Path(script).read_text().partition("case $prev in")[2].partition("esac")[0])
    return problems + [f"{COMPLETION}: operands are offered as the value of {option}" for option in sorted(with_value - handled)]


def configuration_keys(schema_c):
    """{"": {"state_dir", ...}, "rpc": {"socket", ..., "tls: listen"}, ...}"""
    tables = {name: body for name, body in re.findall(r"struct conf_field (\w+)\[\] = \{(.*?)\n\};", schema_c, re.S)}

    def keys(table):
        found = {}
        for entry in re.split(r"\n\t\{ ", tables[table])[1:]:
            key = re.match(r'\.key = "(\w+)"', entry)
            fields = re.search(r"\.fields = (\w+)", entry)
            if key:
                found[key[1]] = keys(fields[1]) if fields else None
        return found

    sections = {"": set()}
    for key, inner in keys("conf_schema").items():
        if inner is None:
            sections[""].add(key)
            continue
        sections[key] = {name for name, deeper in inner.items() if deeper is None}
        sections[key] |= {f"{name}: {deepest}" for name, deeper in inner.items() if deeper for deepest in deeper}
    return sections


def configuration(sections, man, example):
    problems, found = [], {}
    for title, body in re.findall(r"^\.SS ([^\n]*)\n(.*?)(?=^\.S[SH] |\Z)", plain(man), re.M | re.S):
        section = "" if title == "Top level" else title.removesuffix(" (list)")
        headings = re.findall(r"^\.TP\n\.BR (.*?)(?: \(.*)?$", body, re.M)
        found[section] = {key.strip() for heading in headings for key in heading.split(",")}
    problems += differences("wfsd.yaml.5: sections", sections.keys(), found.keys())
    for section in sections.keys() & found:
        problems += differences(f"wfsd.yaml.5: {section or 'top level'}", sections[section], found[section])
        for key in sections[section]:
            if not re.search(rf"\b{key.split()[-1]}:", example):
                problems.append(f"config/wfsd.yaml: nothing about {section} {key}")
    return problems


def tags(what, wanted, man):
    """Each is a tag of a list in the page: "name" behind Cm, "-x" or "--long" behind Fl."""
    found = set()
    for line in re.findall(r"^\.It (.*)$", man, re.M):
        found |= {("-" if kind == "Fl" else "") + word for kind, word in re.findall(r"\b(Cm|Fl) ([\w-]+)", line)}
    return [f"{what}: nothing about {name}" for name in sorted(wanted - found)]


def check(root):
    """The problems of the tree; none where there are no pages."""
    if not (root / MANUALS).is_dir():
        return []

    def text(path):
        return (root / path).read_text(encoding="utf-8")

    names, with_value = option_names(text("server/ctl/args.c"))
    known = commands(text("server/ctl/command.c"), names)
    fuse = set(re.findall(r'^\t(?:\{ |KEYED\()"([a-z_]+|--?\w+)[="](?!, KEY_IGNORED)', text("plugins/fuse/options.c"), re.M))
    plugin = set(re.findall(r'strcmp\(key, "(\w+)"\)', text("plugins/nbdkit/plugin.c")))
    daemon = {f"--{name}" for name in re.findall(r'\{ "(\w+)", \w+_argument', text("server/options.c"))}
    return [
        *public_functions(public_headers.read(root), text(f"{MANUALS}/libwfs.3")),
        *command_line(known, text(f"{MANUALS}/wfs.1")),
        *completion(known, with_value, str(root / COMPLETION)),
        *configuration(configuration_keys(text("server/conf/schema.c")), text(f"{MANUALS}/wfsd.yaml.5"), text("config/wfsd.yaml")),
        *differences("wfsd.8", daemon, options_in(plain(text(f"{MANUALS}/wfsd.8")).partition(".SH OPTIONS")[2].partition(".SH ")[0])),
        *tags("wfs-fuse.1", fuse, text(f"{MANUALS}/wfs-fuse.1")),
        *tags("nbdkit-wfs-plugin.1", plugin, text(f"{MANUALS}/nbdkit-wfs-plugin.1")),
    ]
