#!/bin/sh
# Two network namespaces with an address each, joined by a veth pair: two machines, as far as processes can tell.
#
#   two-namespaces.sh up NAME     makes NAMEa (10.77.0.1) and NAMEb (10.77.0.2); NAME of at most 10 letters
#   two-namespaces.sh cut NAME    the link loses everything
#   two-namespaces.sh join NAME   the link works again
#   two-namespaces.sh down NAME   removes both
#
# Exit code 77, with the reason, where that is not possible: no root, no `ip`, no namespaces.
set -eu

name=${2:-dino}
a=${name}a
b=${name}b

skip() {
  echo "two-namespaces: $1"
  exit 77
}

case ${1:-} in
up)
  [ "$(id -u)" = 0 ] || skip 'needs root'
  command -v ip > /dev/null || skip 'needs ip (iproute2)'
  ip netns add "$a" 2> /dev/null || skip 'this system gives no network namespaces'
  ip netns add "$b"
  ip -n "$a" link add "$a" type veth peer name "$b" netns "$b" 2> /dev/null || {
    ip netns del "$a"
    ip netns del "$b"
    skip 'this system gives no veth pairs'
  }
  ip -n "$a" address add 10.77.0.1/24 dev "$a"
  ip -n "$b" address add 10.77.0.2/24 dev "$b"
  for n in "$a" "$b"; do
    ip -n "$n" link set lo up
    ip -n "$n" link set "$n" up
  done
  ;;
cut)
  ip -n "$b" link set "$b" down
  ;;
join)
  ip -n "$b" link set "$b" up
  ;;
down)
  ip netns del "$a"
  ip netns del "$b"
  ;;
*)
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  exit 2
  ;;
esac
