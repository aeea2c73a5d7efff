# Shared by the scripts of this folder (sourced): steps that keep a log, and
# colour when a person looks.

export LC_ALL=C.UTF-8 CLICOLOR_FORCE= NINJA_STATUS='[%f/%t] '

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' green='' red='' plain=''
fi

# seconds_since START ($EPOCHREALTIME) -> "12.3"
seconds_since() {
    local now=${EPOCHREALTIME/./} was=${1/./}
    local tenths=$(( (now - was) / 100000 ))
    printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# step LIMIT LOG LABEL COMMAND... : runs COMMAND with its output in LOG, at most
# LIMIT seconds, and shows one line about it. Returns what COMMAND returned.
step() {
    local limit=$1 log=$2 label=$3 start=$EPOCHREALTIME status=0 shown=0
    shift 3
    printf '%-42s' "$label"
    timeout --kill-after=10 "$limit" "$@" </dev/null >"$log" 2>&1 9>&- &
    step_pid=$! # for a caller that is interrupted
    if [ -t 1 ]; then
        while kill -0 "$step_pid" 2>/dev/null; do
            sleep 0.2
            if [ "$(( (${EPOCHREALTIME/./} - ${start/./}) / 1000000 ))" -ge 2 ]; then
                printf '\r%-42s%s%s s%s' "$label" "$dim" "$(seconds_since "$start")" "$plain"
                shown=1
            fi
        done
    fi
    wait "$step_pid" || status=$?
    [ "$shown" = 0 ] || printf '\r%-42s' "$label"
    if [ "$status" = 0 ]; then
        printf '%sok%s      %s%s s%s\n' "$green" "$plain" "$dim" "$(seconds_since "$start")" "$plain"
    elif [ "$status" = 124 ] || [ "$status" = 137 ]; then
        printf '%sstopped%s after %s s\n' "$red" "$plain" "$limit"
        printf 'still running after %s seconds, stopped\n' "$limit" >>"$log"
    else
        printf '%sFAILED%s  %s%s s%s\n' "$red" "$plain" "$dim" "$(seconds_since "$start")" "$plain"
    fi
    return "$status"
}

# show LOG [LINES]: the end of LOG without what went well, set off from what is
# around it.
show() {
    grep -vE '^\[[0-9]+/[0-9]+\]|^ *[0-9]+/[0-9]+ Test +#.*Passed|^ *Start +[0-9]+:' "$1" |
        tail -n "${2:-60}" | sed 's/^/  | /'
}
