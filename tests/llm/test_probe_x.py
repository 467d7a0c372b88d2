import time, pyarrow.parquet as pq
def test_probe(finished):
    p, r = finished
    for f in sorted((p/"ledger").iterdir()):
        t=pq.read_table(f); print(f.name, len(t), sum(t['closed'].to_pylist()), sum(x or 0 for x in t['num_correct'].to_pylist()), sum(t['num_answers'].to_pylist()))
    print({k:(v['all']['avg']['mean']) for k,v in r['methods'].items()})
    print(open(p/"compute.json").read()[:3000])
