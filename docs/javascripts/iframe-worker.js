// Search in pages opened from a file, where browsers refuse workers: the worker's script runs in a
// hidden frame instead, which gets and sends its messages as events.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const inner = this.frame.contentWindow
      this.loaded = new Promise((done) => {
        const script = inner.document.createElement("script")
        script.onload = done
        script.src = new URL(url, location.href).href
        inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
        inner.importScripts = () => {}
        inner.document.body.append(script)
      })
    }

    postMessage(data) {
      const { contentWindow } = this.frame
      this.loaded.then(() => contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }

    terminate() {
      this.frame.remove()
    }
  }
}
