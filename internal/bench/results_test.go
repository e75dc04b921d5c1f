package main

import (
	"bytes"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   spread
		text   string
	}{
		{nil, spread{}, "–"},
		{[]float64{3}, spread{1, 3, 3, 3}, "3.0"},
		{[]float64{4, 1}, spread{2, 1, 2.5, 4}, "2.5 (1.0–4.0)"},
		{[]float64{9, 1, 2}, spread{3, 1, 2, 9}, "2.0 (1.0–9.0)"},
	} {
		if s := spreadOf(tt.values); s != tt.want || s.text(1) != tt.text {
			t.Errorf("%v: %+v, %q; want %+v, %q", tt.values, s, s.text(1), tt.want, tt.text)
		}
	}
}

func TestPercentile(t *testing.T) {
	var values []float64
	for i := range 200 {
		values = append(values, float64(199-i))
	}
	for p, want := range map[float64]float64{0: 0, 50: 100, 99: 198, 100: 199} {
		if got := percentile(values, p); got != want {
			t.Errorf("%v %%: %v, want %v", p, got, want)
		}
	}
}

func TestWriteTable(t *testing.T) {
	r := make(results)
	for _, v := range []float64{1, 2, 3} {
		r.add("one", "speed", v)
		r.add("two", "speed", 2*v)
	}
	r.add("one", "loss", 4)
	r.add("two", "loss", 5)
	r.add("two", "extra", 7)
	var b bytes.Buffer
	writeTable(&b, r, []string{"one", "two"}, []row{
		{"speed", "speed", 1, false}, {"never measured", "nothing", 0, false}, {"loss", "loss", 0, true}, {"extra", "extra", 0, false},
	})
	const want = `| | one | two |
|---|---|---|
| speed | 2.0 (1.0–3.0) | 4.0 (2.0–6.0) **×2.00** |
| loss | 4 | 5 |
| extra | – | 7 |

`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}

func TestGoals(t *testing.T) {
	r := &report{programs: []program{{name: "new"}}, results: make(results), relayResults: make(results)}
	r.results.add(baseline, "tcp1", 2)
	r.results.add("new direct", "tcp1", 3)
	r.results.add(baseline, "tcp1 cpu", 4)
	r.results.add("new direct", "tcp1 cpu", 4)
	goals := r.goals()
	if len(goals) != 2 || !goals[0].met() || goals[0].got != 1.5 || goals[1].met() {
		t.Errorf("goals %+v, want one met with 1.5, one missed", goals)
	}
}

func TestBitmap(t *testing.T) {
	var m bitmap
	for _, n := range []uint64{1, 64, 63, 1000} {
		if !m.add(n) || m.add(n) {
			t.Errorf("%d is not new once", n)
		}
	}
}
