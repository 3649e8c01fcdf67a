# SPDX-License-Identifier: BSD-3-Clause
# bash completion for wfs(1): commands, options, and the names of pools, volumes and exports.

_wfs_names() {
	# The first column of a list, when the daemon answers.
	wfs "$1" list 2>/dev/null | tail -n +2 | cut -d' ' -f1
}

_wfs() {
	COMPREPLY=()
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words= noun= verb= w
	for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $w in
		-*) ;;
		*) if [ -z "$noun" ]; then noun=$w; elif [ -z "$verb" ]; then verb=$w; fi ;;
		esac
	done
	case $prev in
	--isolation)
		COMPREPLY=($(compgen -W "snapshot serializable" -- "$cur"))
		return
		;;
	--squash)
		COMPREPLY=($(compgen -W "none root all" -- "$cur"))
		return
		;;
	--socket)
		COMPREPLY=($(compgen -f -- "$cur"))
		return
		;;
	--server | --name | --size | --as | --description | --interval | --count | --type | --label | --cluster | --sector | --uid | --gid | --umask | --user | --group | --project | --bytes | --objects | --color | --icon | --anon | --clients | --certificate-names | --ttl | --status | -j | --jobs | -o | --options)
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		words="--json --socket --help"
		case "$noun $verb" in
		"pool create") words+=" --size --force" ;;
		"pool attach" | "pool replace") words+=" --force" ;;
		"pool import") words+=" --read-only" ;;
		"pool export") words+=" --force" ;;
		"pool destroy" | "volume delete" | "fs delete") words+=" --yes" ;;
		"pool check") words+=" --data" ;;
		"mkfs fat") words+=" --type --label --cluster --sector --size --yes" ;;
		"mkfs wfs2") words+=" --label --size --yes" ;;
		"fsck "*) words+=" --repair" ;;
		"quota set") words+=" --user --group --project --bytes --objects" ;;
		"project "*) words+=" --recursive --server" ;;
		"label "*) words+=" --color --icon --server" ;;
		"volume resize") words+=" --shrink --yes" ;;
		"export add") words+=" --as --read-only --default --description --auth-sys --squash --anon --clients --tls --certificate-names" ;;
		"stats export") words+=" --server" ;;
		"stats ") words+=" --watch --interval --count" ;;
		"mount add") words+=" --read-only --uid --gid --umask" ;;
		"mount remove") words+=" --force" ;;
		"mount list") ;;
		"mount "*) words+=" -o --foreground --server" ;;
		"ls "*) words+=" --long --server" ;;
		"find "*) words+=" --long --name --server" ;;
		"watch "*) words+=" --recursive --count --server" ;;
		"cp "* | "rm "*) words+=" --recursive --jobs --server" ;;
		"get "* | "put "*) words+=" --jobs --server" ;;
		"cat "* | "mv "* | "mkdir "* | "stat "* | "xattr "*) words+=" --server" ;;
		"convert wfs2") words+=" --server" ;;
		"tx "*) words+=" --isolation --ttl --status --server" ;;
		esac
	else
		case "$noun $verb" in
		" ") words="pool volume fs export mount drive mkfs fsck fat wfs2 convert status stats reload ls cat get put cp mv rm mkdir stat find watch xattr tx quota project label" ;;
		"pool ") words="create list status import export destroy sync attach replace detach online check scrub" ;;
		"volume ") words="create list show resize rename delete" ;;
		"fs ") words="create list rename delete" ;;
		"quota ") words="set list" ;;
		"quota "*) words="$(_wfs_names volume) $(_wfs_names fs)" ;;
		"export ") words="add list remove" ;;
		"stats ") words="clients export slow" ;;
		"stats export") words=$(_wfs_names export) ;;
		"pool create") COMPREPLY=($(compgen -f -- "$cur")) && words=mirror ;;
		"pool import") COMPREPLY=($(compgen -f -- "$cur")) && return ;;
		"pool attach" | "pool replace" | "pool detach" | "pool online")
			COMPREPLY=($(compgen -f -- "$cur"))
			words=$(_wfs_names pool)
			;;
		"pool scrub") words="start pause stop status $(_wfs_names pool)" ;;
		"pool check") COMPREPLY=($(compgen -f -- "$cur")) && words=$(_wfs_names pool) ;;
		"pool "*) words=$(_wfs_names pool) ;;
		"volume list" | "fs list") words=$(_wfs_names pool) ;;
		"fs "*) words=$(_wfs_names fs) ;;
		"export add") words="$(_wfs_names volume) $(_wfs_names fs)" ;;
		"volume "*) words=$(_wfs_names volume) ;;
		"put "* | "get "*) COMPREPLY=($(compgen -f -- "$cur")) && words=$(_wfs_names export) ;;
		"ls "* | "cat "* | "cp "* | "mv "* | "rm "* | "mkdir "* | "stat "* | "find "* | "watch "* | "xattr "* | "tx "* | "project "* | "label "*) words=$(_wfs_names export) ;;
		"mount ") words="add list remove $(_wfs_names export)" ;;
		"mount add") COMPREPLY=($(compgen -f -- "$cur")) && words="fat nfs wfs2" ;;
		"mount remove") words=$(_wfs_names mount) ;;
		"mount list") ;;
		"drive ") words="set list remove" ;;
		"drive set") words="$(_wfs_names mount) $(_wfs_names pool | sed 's|^|/|')" ;;
		"drive remove") words=$(_wfs_names drive) ;;
		"mount "*) COMPREPLY=($(compgen -d -- "$cur")) && return ;;
		"export remove") words=$(_wfs_names export) ;;
		"mkfs " | "fsck ") words="fat wfs2" ;;
		"convert ") words="wfs2" ;;
		"fat ") words="ls get put mkdir rm mv" ;;
		"wfs2 ") words="ls get put rm mv" ;;
		"mkfs "* | "fsck "* | "fat "* | "wfs2 "* | "convert "*) COMPREPLY=($(compgen -f -- "$cur")) && return ;;
		esac
	fi
	COMPREPLY+=($(compgen -W "$words" -- "$cur"))
}
complete -F _wfs wfs
