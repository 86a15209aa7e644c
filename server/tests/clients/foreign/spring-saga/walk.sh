#!/usr/bin/env bash
# The order, payment and delivery services as a saga, by hand: BOOTSTRAP=localhost:9092 ./walk.sh, after mvn -q -B package
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WALK=spring-saga
. "$HERE/../lib.sh"
export BOOTSTRAP

order=$(free_port) payment=$(free_port) delivery=$(free_port)
export SAGA_RUN=-$RUN
for service in order payment delivery; do
  HTTP_PORT=${!service} background "saga-$service" "${JVM[@]}" -jar "$HERE/target/spring-saga.jar" "--spring.profiles.active=$service"
done
started() { grep -q 'Started Application' "$LOGS/saga-$1.log"; }
assigned() { [ "$(grep -oE 'partitions assigned: \[[^]]+\]' "$LOGS/saga-$1.log" | sort -u | wc -l)" -ge "$2" ]; }
for service in order payment delivery; do
  verdict "the $service service starts" "$LOGS/saga-$service.log" wait_for 180 started "$service"
done
verdict "the order service is given its partitions" "$LOGS/saga-order.log" wait_for 30 assigned order 1
verdict "the payment service is given its partitions" "$LOGS/saga-payment.log" wait_for 30 assigned payment 1
verdict "the delivery service is given its partitions" "$LOGS/saga-delivery.log" wait_for 30 assigned delivery 1

# place CUSTOMER ITEM QUANTITY AMOUNT: the id of the new order
place() {
  curl -sS --max-time 10 --noproxy '*' -d "customer=$1" -d "item=$2" -d "quantity=$3" -d "amount=$4" "http://127.0.0.1:$order/orders" |
    sed -nE 's/.*"id":"([^"]+)".*/\1/p'
}
state_is() { curl -sS --max-time 10 --noproxy '*' "http://127.0.0.1:$order/orders/$1" | grep -q "\"state\":\"$2\""; }
number() { curl -sS --max-time 10 --noproxy '*' "http://127.0.0.1:$1"; }
is() { [ "$(number "$1")" = "$2" ]; }

first=$(place ada book 2 100)
verdict "an order that is in stock is delivered" "$LOGS/saga-order.log" wait_for 30 state_is "$first" DELIVERED
verdict "its money is taken" "$LOGS/saga-payment.log" is "$payment/balances/ada" 900
verdict "its goods have left" "$LOGS/saga-delivery.log" is "$delivery/stock/book" 3

second=$(place ada lamp 2 300)
verdict "an order that is out of stock is cancelled" "$LOGS/saga-order.log" wait_for 30 state_is "$second" CANCELLED
verdict "its money comes back" "$LOGS/saga-payment.log" is "$payment/balances/ada" 900
verdict "the stock is untouched" "$LOGS/saga-delivery.log" is "$delivery/stock/lamp" 1

third=$(place bob book 1 5000)
verdict "an order that cannot be paid is rejected" "$LOGS/saga-order.log" wait_for 30 state_is "$third" REJECTED
verdict "the balance is untouched" "$LOGS/saga-payment.log" is "$payment/balances/bob" 1000

# Twelve customers want the three books that are left: whoever is too late gets the money back.
ids=()
for i in $(seq 12); do ids+=("$(place "customer-$i" book 1 10)"); done
settled() {
  local id state
  delivered=0 cancelled=0
  for id in "${ids[@]}"; do
    state=$(curl -sS --max-time 10 --noproxy '*' "http://127.0.0.1:$order/orders/$id" | sed -nE 's/.*"state":"([^"]+)".*/\1/p')
    case $state in
      DELIVERED) delivered=$((delivered + 1)) ;;
      CANCELLED) cancelled=$((cancelled + 1)) ;;
      *) return 1 ;;
    esac
  done
}
verdict "twelve orders at once are all settled" "$LOGS/saga-order.log" wait_for 40 settled
verdict "three are delivered, nine cancelled" "$LOGS/saga-delivery.log" [ "$delivered $cancelled" = "3 9" ]
total=0
for i in $(seq 12); do total=$((total + $(number "$payment/balances/customer-$i"))); done
verdict "money was kept for three" "$LOGS/saga-payment.log" [ "$total" -eq $((12 * 1000 - 30)) ]
verdict "no books are left" "$LOGS/saga-delivery.log" is "$delivery/stock/book" 0
finish
