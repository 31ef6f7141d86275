# The setting of the pages in this folder: four machines, each a home folder below ~/overland-try,
# a cloud that serves, a customer's account in it, and a source computer with an offline policy.
# Source it from the checkout: . docs/acceptance/setting.sh

export PATH="$PWD/.venv/bin:$PATH"
mkdir -p ~/overland-try/staging ~/overland-try/documents && cd ~/overland-try

source_computer() { OVERLAND_HOME=~/overland-try/source-computer overland "$@"; }
copy_computer()   { OVERLAND_HOME=~/overland-try/copy-computer   overland "$@"; }
provider()        { OVERLAND_HOME=~/overland-try/provider        overland "$@"; }
datacenter()      { OVERLAND_HOME=~/overland-try/datacenter      overland "$@"; }

# refused CODE COMMAND...: runs a command that has to fail, and shows how it ended.
refused() {
  local code=$1 status=0
  shift
  "$@" > refused.log 2>&1 || status=$?
  cat refused.log
  grep -qF "[$code]" refused.log || { echo "not refused with [$code], exit code $status"; return 1; }
  echo "exit code $status"
}

# The provider's cloud, and the customer's account.
provider cloud init --dock "Import dock; 1 Harbour Road; Rotterdam; 3011 AA; Netherlands"
OVERLAND_HOME=~/overland-try/provider overland cloud serve --port 0 2> cloud.log &
until [ -e provider/cloud/endpoints.json ]; do sleep 0.2; done
provider cloud tenant create harbour --out admin-token
as_admin="--token-file admin-token"
subscription=$(provider cloud subscription create production $as_admin | cut -d' ' -f2)
provider cloud storage-account create harbourdata $as_admin
provider cloud container create seeds --storage-account harbourdata $as_admin
vault=$(provider cloud vault create harbour-vault $as_admin | cut -d' ' -f2)
provider cloud vault-credentials "$vault" $as_admin --out vault-credentials
provider cloud publish-settings $as_admin --out harbour.publishsettings
provider cloud token create --role station --out station-token

# The station in the datacenter.
url=$(python3 -c 'import json; print(json.load(open("provider/cloud/endpoints.json"))["url"])')
datacenter station init --cloud-url "$url" --ca-file provider/cloud/ca.pem --token-file station-token

# The source computer: something to protect, keys, registration, an offline policy.
echo "the first version" > documents/report.txt
head -c 30000000 /dev/urandom > documents/photos.bin
echo "correct horse battery staple" > passphrase
source_computer agent init --name files --passphrase-file passphrase --recovery-kit recovery-kit
source_computer agent register --vault-credentials vault-credentials
source_computer policy create documents --source documents --offline \
    --staging staging --publish-settings harbour.publishsettings --job-name first-import \
    --subscription "$subscription" --storage-account harbourdata --container seeds

# What is typed into the shipping form, but for the parcel's number.
form=(--carrier FedEx
    --return-name "Ada Quist" --return-street "12 Quay Lane" --return-city Aarhus
    --return-postal-code 8000 --return-country Denmark --return-phone "+45 00 00 00 00"
    --return-email disks@example.org --return-carrier FedEx --return-account 000111222 --yes)
