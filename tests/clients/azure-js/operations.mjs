// Every operation of @azure/arm-storageimportexport, as Microsoft published it, against our cloud.
// Prints one line per promise that was kept; an assertion ends the program.

import assert from "node:assert/strict";
import { StorageImportExport } from "@azure/arm-storageimportexport";

const { CLOUD_URL, CLOUD_TOKEN, SUBSCRIPTION_ID, RESOURCE_GROUP, STORAGE_ACCOUNT_ID } = process.env;
const KEY = "238810-662376-448998-450120-652806-203390-606320-483076";
const HASH = "3148218129D7A878553B49D5CA314EAB";
const SHIPPED = "js-shipped"; // the test that starts this program lets the station take it in

function connect(token = CLOUD_TOKEN, options = {}) {
  const credential = {
    getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3600_000 }),
  };
  const retryOptions = { maxRetries: 0 };
  return new StorageImportExport(credential, SUBSCRIPTION_ID, {
    endpoint: CLOUD_URL,
    $host: CLOUD_URL,
    retryOptions,
    ...options,
  });
}

const client = connect();

async function all(pages) {
  const found = [];
  for await (const each of pages) found.push(each);
  return found;
}

function drive(name) {
  return {
    driveId: `SERIAL-${name}`,
    bitLockerKey: KEY,
    manifestFile: "\\DriveManifest.xml",
    manifestHash: HASH,
    driveHeaderHash: "",
  };
}

function importJob(name, changes = {}) {
  return {
    location: "westus",
    tags: { project: "lantern" },
    properties: {
      storageAccountId: STORAGE_ACCOUNT_ID,
      jobType: "Import",
      returnAddress: {
        recipientName: "Ada Quist",
        streetAddress1: "12 Quay Lane",
        city: "Aarhus",
        postalCode: "8000",
        countryOrRegion: "Denmark",
        phone: "+4500000000",
        email: "disks@example.org",
      },
      driveList: [drive(name)],
      ...changes,
    },
  };
}

async function refused(asked, statusCode, code) {
  await assert.rejects(asked, (error) => {
    assert.equal(error.name, "RestError");
    assert.deepEqual([error.statusCode, error.code], [statusCode, code]);
    assert.ok(error.details.error?.message ?? error.details.message);
    return true;
  });
}

const promises = {
  async "locations are listed and found by either name"() {
    assert.equal((await all(client.locations.list())).length, 32);
    for (const name of ["westus", "West US"]) {
      const location = await client.locations.get(name);
      assert.equal(location.id, "/providers/Microsoft.ImportExport/locations/westus");
      assert.equal(location.recipientName, "Example Import Dock");
      assert.deepEqual(location.alternateLocations, [location.id]);
    }
  },

  async "operations are listed"() {
    const names = (await all(client.operations.list())).map((each) => each.name);
    assert.ok(names.includes("Microsoft.ImportExport/jobs/write"));
  },

  async "a job with every property is created and read again"() {
    const body = importJob("js-1", {
      returnShipping: { carrierName: "FedEx", carrierAccountNumber: "000111222" },
      deliveryPackage: { carrierName: "FedEx", trackingNumber: "TRACK-JS-1", driveCount: 1 },
      diagnosticsPath: "logs",
      logLevel: "Verbose",
      backupDriveManifest: true,
      encryptionKey: { kekType: "MicrosoftManaged" },
    });
    const made = await client.jobs.create("js-1", RESOURCE_GROUP, body, { clientTenantId: "x" });
    const got = await client.jobs.get("js-1", RESOURCE_GROUP);
    assert.deepEqual([made.location, got.location], ["westus", "West US"]);
    assert.ok(got.systemData.createdAt instanceof Date);
    assert.deepEqual(got.identity, { type: "None" });
    for (const { properties } of [made, got]) {
      assert.deepEqual([properties.state, properties.logLevel], ["Creating", "Verbose"]);
      assert.deepEqual(properties.encryptionKey, { kekType: "MicrosoftManaged" });
      assert.equal(properties.returnAddress.streetAddress2, "");
      assert.equal(properties.deliveryPackage.driveCount, 1);
      assert.equal(properties.returnPackage, undefined);
      assert.equal(properties.driveList[0].state, "Specified");
      assert.equal(properties.driveList[0].bitLockerKey, undefined);
    }
  },

  async "an export job is kept as it was asked for"() {
    const wanted = { blobPath: ["charts/index.json"], blobPathPrefix: ["/music/love"] };
    const body = importJob("js-2", { jobType: "Export", export: wanted, driveList: undefined });
    const made = await client.jobs.create("js-2", RESOURCE_GROUP, body);
    assert.equal(made.properties.jobType, "Export");
    assert.deepEqual(made.properties.export.blobPath, wanted.blobPath);
    assert.deepEqual(made.properties.export.blobPathPrefix, wanted.blobPathPrefix);
    assert.deepEqual(made.properties.driveList, []);
  },

  async "keys are listed by their own request"() {
    const keys = await all(client.bitLockerKeys.list("js-1", RESOURCE_GROUP));
    assert.deepEqual(keys, [{ driveId: "SERIAL-js-1", bitLockerKey: KEY }]);
  },

  async "lists have pages and filters"() {
    for (const name of ["js-3", "js-4", "js-5"]) {
      await client.jobs.create(name, RESOURCE_GROUP, importJob(name));
    }
    const pages = client.jobs.listByResourceGroup(RESOURCE_GROUP, { top: 2 }).byPage();
    const sizes = [];
    for await (const page of pages) sizes.push(page.length);
    assert.ok(sizes.length > 2 && sizes.slice(0, -1).every((size) => size === 2), String(sizes));
    const inGroup = await all(client.jobs.listByResourceGroup(RESOURCE_GROUP, { top: 2 }));
    const inSubscription = await all(client.jobs.listBySubscription({ top: 2 }));
    assert.deepEqual(
      inGroup.map((each) => each.name),
      inSubscription.map((each) => each.name),
    );
    assert.ok(inGroup.every((each) => each.properties.driveList === undefined));
    assert.ok(inSubscription.every((each) => each.properties.driveList !== undefined));
    const filter = "jobType eq 'Export' and name eq 'js-2'";
    const exports = await all(client.jobs.listBySubscription({ filter, top: 1 }));
    assert.deepEqual(exports.map((each) => each.name), ["js-2"]);
  },

  async "a job is changed and cancelled and deleted"() {
    const changed = await client.jobs.update("js-3", RESOURCE_GROUP, {
      tags: { project: "beacon" },
      state: "",
      logLevel: "Verbose",
      backupDriveManifest: true,
      returnShipping: { carrierName: "DHL", carrierAccountNumber: "333444555" },
      deliveryPackage: { carrierName: "FedEx", trackingNumber: "TRACK-JS-3", driveCount: 0 },
      driveList: [drive("js-3")],
    });
    assert.deepEqual(changed.tags, { project: "beacon" });
    assert.deepEqual(
      [changed.properties.state, changed.properties.logLevel],
      ["Creating", "Verbose"],
    );
    const cancelled = await client.jobs.update("js-3", RESOURCE_GROUP, { cancelRequested: true });
    assert.equal(cancelled.properties.cancelRequested, true);
    await client.jobs.delete("js-3", RESOURCE_GROUP);
    await refused(client.jobs.get("js-3", RESOURCE_GROUP), 404, "ResourceNotFound");
  },

  async "refusals are the client's own error"() {
    await refused(client.jobs.get("nothing", "rg-none"), 404, "ResourceGroupNotFound");
    await refused(client.locations.get("mars"), 404, "ResourceNotFound");
    const eleven = Array.from({ length: 11 }, (_, number) => drive(`bad-${number}`));
    const body = importJob("bad", { driveList: eleven });
    await refused(client.jobs.create("bad", RESOURCE_GROUP, body), 400, "InvalidRequestContent");
    const early = { state: "Shipping" };
    await refused(client.jobs.update("js-4", RESOURCE_GROUP, early), 409, "InvalidJobState");
    const nobody = connect("ov1_nobody_nothing");
    await refused(nobody.jobs.get("js-1", RESOURCE_GROUP), 401, "InvalidAuthenticationToken");
  },

  async "other versions are refused, and the two older ones answered"() {
    const old = connect(CLOUD_TOKEN, { apiVersion: "2019-01-01" });
    await refused(old.locations.get("westus"), 400, "NoRegisteredProviderFound");
    for (const apiVersion of ["2016-11-01", "2020-08-01"]) {
      const job = await connect(CLOUD_TOKEN, { apiVersion }).jobs.get("js-1", RESOURCE_GROUP);
      assert.equal(job.systemData === undefined, apiVersion === "2016-11-01");
    }
  },

  async "names in any case lead to the same job"() {
    assert.equal((await client.jobs.get("JS-1", RESOURCE_GROUP.toUpperCase())).name, "js-1");
  },

  async "a job is shipped"() {
    await client.jobs.create(SHIPPED, RESOURCE_GROUP, importJob(SHIPPED));
    const deliveryPackage = { carrierName: "FedEx", trackingNumber: "TRACK-JS-9", driveCount: 1 };
    const notice = { state: "Shipping", deliveryPackage };
    const shipped = await client.jobs.update(SHIPPED, RESOURCE_GROUP, notice);
    assert.equal(shipped.properties.state, "Shipping");
    await refused(client.jobs.delete(SHIPPED, RESOURCE_GROUP), 409, "InvalidJobState");
  },

  async "an ended job shows its return and is deleted"() {
    const { properties } = await client.jobs.get(SHIPPED, RESOURCE_GROUP);
    assert.deepEqual([properties.state, properties.percentComplete], ["Completed", 100]);
    assert.equal(properties.returnPackage.driveCount, 1);
    assert.equal(properties.driveList[0].state, "ShippedBack");
    assert.equal(properties.driveList[0].bytesSucceeded, 1733001216);
    await client.jobs.delete(SHIPPED, RESOURCE_GROUP);
  },
};

for (const name of process.env.PROMISES.split("; ")) {
  await promises[name]();
  console.log(`kept: ${name}`);
}
