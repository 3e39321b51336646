# What the other scripts have in common; they read it with ".".

# fail WORDS ...: a mistake of the user, in one line.
fail() {
    echo "error: $*" >&2
    exit 2
}

# answer_help ARGUMENTS ...: if they begin with --help, print the comment on top of the
# script, and end.
answer_help() {
    case ${1:-} in
    -h | --help)
        sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
        exit
        ;;
    esac
}

# take_none ARGUMENTS ...: refuse any but --help.
take_none() {
    answer_help "$@"
    [ $# = 0 ] || fail "scripts/${0##*/} takes no arguments, and was given: $*"
}
