# What a virtual machine of test/shows does: it carries out scripts that come in base64, one a line, over its second serial line, and
# answers each with a line: what the script printed, in base64, and its exit status.
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
exec 3<>/dev/ttyS1 # before it says so: a port that nobody has open loses what comes
stty raw -echo <&3
echo serving
while read -r script <&3; do
  echo "$script" | base64 -d >/tmp/script
  sh /tmp/script >/tmp/printed 2>&1 </dev/null 3>&-
  status=$?
  echo "$(base64 /tmp/printed | tr -d '\n') $status" >&3
done
poweroff -f
