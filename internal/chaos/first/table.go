package first

import (
	"fmt"
	"strings"
	"time"
)

// Table is the rows in Markdown.
func Table(rows []Row) string {
	var b strings.Builder
	b.WriteString("| pair | delay | case | RTT to the hub | RTT of the path | goal | first ping, of the node | of the other | path after |\n")
	b.WriteString("|---|--:|---|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range rows {
		fmt.Fprintln(&b, r)
	}
	return b.String()
}

// String is the table's line.
func (r Row) String() string {
	return fmt.Sprintf("| %s | %v | %s | %s | %s | %s | %s | %s | %s |", r.Pair.Name, r.Delay, r.Case,
		ms(r.Hub), ms(r.Path), ms(r.Goal()), r.judged(0), r.judged(1), ms(max(r.Settled[0], r.Settled[1])))
}

// judged shows what misses its goal in bold.
func (r Row) judged(i int) string {
	if r.Took[i] > r.Goal() {
		return "**" + ms(r.Took[i]) + "**"
	}
	return ms(r.Took[i])
}

func ms(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}
