// Stands for the images of Jenkins and of its agent, which cannot be had everywhere, where they meet ECS:
// the controller answers on 8080 and writes to its home, the agent connects to it with what it is started
// with, as the images' own entry points do.
package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

func main() {
	if len(os.Args) == 5 && os.Args[1] == "-url" { // -url URL SECRET NAME
		agent(strings.TrimSuffix(os.Args[2], "/"), os.Args[3], os.Args[4])
		return
	}
	controller("/var/jenkins_home")
}

func agent(address, secret, name string) {
	resp, err := http.PostForm(address+"/agent", url.Values{"name": {name}, "secret": {secret}, "web_socket": {os.Getenv("JENKINS_WEB_SOCKET")}})
	if err != nil {
		fmt.Println("connecting:", err)
		os.Exit(1)
	}
	defer resp.Body.Close()
	fmt.Println("connected as", name+":", resp.Status)
	if resp.StatusCode != http.StatusOK {
		os.Exit(1)
	}
}

func controller(home string) {
	var mu sync.Mutex
	line := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		f, err := os.OpenFile(filepath.Join(home, "history"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = fmt.Fprintln(f, text)
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			fmt.Println("writing to the home:", err)
			os.Exit(1)
		}
	}
	if os.Getenv("ADMIN_PASSWORD") == "" {
		fmt.Println("there is no password for admin")
		os.Exit(1)
	}
	lock, err := os.OpenFile(filepath.Join(home, ".controller.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX) // as the image's entry point
	}
	if err != nil {
		fmt.Println("locking the home:", err)
		os.Exit(1)
	}
	line("start")
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		line("end")
		os.Exit(0)
	}()
	http.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "log in to", os.Getenv("JENKINS_URL")) })
	http.HandleFunc("GET /history", func(w http.ResponseWriter, _ *http.Request) {
		data, _ := os.ReadFile(filepath.Join(home, "history"))
		_, _ = w.Write(data)
	})
	http.HandleFunc("POST /agent", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("secret") != "s3cr3t" || r.FormValue("web_socket") != "true" {
			http.Error(w, "who are you?", http.StatusForbidden)
			return
		}
		line("agent " + r.FormValue("name"))
	})
	fmt.Println(http.ListenAndServe(":8080", nil))
	os.Exit(1)
}
