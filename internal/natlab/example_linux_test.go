package natlab_test

import (
	"context"
	"log"
	"time"

	"github.com/p2ptun/p2ptun/internal/natlab"
)

// A hub, a node behind a home's NAT, and one behind a home's and its
// provider's, on a slow line.
func Example() {
	lab, err := natlab.New()
	if err != nil {
		log.Fatal(err)
	}
	defer lab.Close()

	hub := natlab.Must(lab.PublicHost("hub"))
	home := natlab.Must(lab.NAT("home", natlab.PortRestricted))
	a := natlab.Must(home.Host("a"))
	isp := natlab.Must(lab.NAT("isp", natlab.Symmetric, natlab.CarrierGrade()))
	dsl := natlab.Through(natlab.Link{Delay: 15 * time.Millisecond, Rate: 16e6})
	flat := natlab.Must(isp.NAT("flat", natlab.PortRestricted, dsl))
	b := natlab.Must(flat.Host("b"))

	if err := hub.Command(context.Background(), "p2ptun", "hub", "--listen", ":443").Start(); err != nil {
		log.Fatal(err)
	}
	log.Println(hub.Addr(), home.Addr(), a.Addr(), isp.Addr(), b.Addr())
}
