//go:build race

package state

import "testing"

func TestTransactionWithinATransaction(t *testing.T) {
	db, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a view within a view is not seen")
		}
		if err := db.View(func(*Tx) error { return nil }); err != nil {
			t.Error(err)
		}
	}()
	_ = db.View(func(*Tx) error { return db.View(func(*Tx) error { return nil }) })
}
